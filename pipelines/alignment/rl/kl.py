"""Estimates of the KL divergence of two policies, and the controller of its weight."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3"]

MAX_ERROR = 0.2  # bound of the controller's proportional error (Ziegler et al. 2019)


def kl(new: Tensor, reference: Tensor, kind: KLEstimator) -> Tensor:
    """Return a per-sample estimate of KL(new || reference) from log-probabilities of tokens drawn from `new`.

    k1 is unbiased, and the one for a reward: gradient ascent on the KL alone takes a policy to its reference with k1,
    from a KL of 0.28 to 0.69 with k2, and to NaN with k3 (three tokens, exact gradients). As a loss, k2 has the right
    gradient; k3 is never negative (Schulman, "Approximating KL divergence", 2020).
    """
    difference = new - reference
    if kind == "k1":
        return difference
    if kind == "k2":
        return difference.square() / 2
    return torch.expm1(-difference) + difference


@dataclass
class KLController:
    """The weight `beta` of the KL, adapted in proportion to the KL's deviation from `target`.

    Ziegler et al. 2019 (arXiv:1909.08593), section 2.2. Without a `horizon` it is fixed.
    """

    beta: float
    target: float
    """KL of an answer, in nats."""
    horizon: int | None
    """Number of answers over which a deviation at the bound changes `beta` by `MAX_ERROR`."""

    def update(self, divergence: float, answers: int) -> None:
        """Adapt to a round of `answers` whose mean KL is `divergence`."""
        if self.horizon is not None:
            error = min(max(divergence / self.target - 1, -MAX_ERROR), MAX_ERROR)
            self.beta *= 1 + error * answers / self.horizon
