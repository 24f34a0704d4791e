"""Estimates of the KL divergence of two policies."""

from typing import Literal

import torch
from torch import Tensor


def kl(new: Tensor, reference: Tensor, kind: Literal["k1", "k2", "k3"]) -> Tensor:
    """Return a per-sample estimate of KL(new || reference) from log-probabilities of tokens drawn from `new`.

    k1 is unbiased and belongs in a reward; k2 has the right gradient as a loss; k3 is never negative
    (Schulman, "Approximating KL divergence", 2020).
    """
    difference = new - reference
    if kind == "k1":
        return difference
    if kind == "k2":
        return difference.square() / 2
    return torch.expm1(-difference) + difference
