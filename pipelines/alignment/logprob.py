"""Log-probabilities of chosen tokens, entropy, and estimates of the KL divergence of two policies."""

from typing import Literal

import torch
from torch import Tensor


def token_logprobs(logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """Return the log-probability [...] of `ids` [...] under `logits` [..., V], in float32.

    The logits are divided by the temperature of the rollouts, so that the updated distribution is the sampled one.
    """
    scaled = logits.float() / temperature
    return scaled.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - scaled.logsumexp(-1)


def entropy(logits: Tensor, temperature: float) -> Tensor:
    """Return the entropy [...] in nats of the distributions `logits` [..., V]."""
    logs = (logits.float() / temperature).log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


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
