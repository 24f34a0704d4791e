"""Per-token losses of PPO, their reduction, and the pairwise loss of the reward model."""

import torch
from torch import Tensor

LOG_RATIO = 20.0  # e^20 is finite, and far beyond the clip range


def policy_loss(new: Tensor, old: Tensor, advantages: Tensor, low: float, high: float, dual: float) -> Tensor:
    """Return the clipped surrogate loss [B, T] (Schulman et al. 2017, eq. 7).

    The ratio is clipped to [1 - `low`, 1 + `high`]; for a negative advantage the loss is bounded at
    `dual` x |advantage| (Ye et al. 2020), as the ratio has no upper bound there.
    """
    ratio = (new - old).clamp(-LOG_RATIO, LOG_RATIO).exp()
    loss = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - low, 1 + high))
    return torch.where(advantages < 0, torch.minimum(loss, -advantages * dual), loss)


def clipped(new: Tensor, old: Tensor, low: float, high: float) -> Tensor:
    """Return where [B, T] the ratio has left [1 - `low`, 1 + `high`]."""
    ratio = (new - old).exp()
    return (ratio < 1 - low) | (ratio > 1 + high)


def value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Return half the squared error [B, T] of the value or of the value clipped to `old` ± `clip`, the larger one."""
    bounded = old + (values - old).clamp(-clip, clip)
    return torch.maximum((values - returns).square(), (bounded - returns).square()) / 2


def pair_loss(chosen: Tensor, rejected: Tensor, margins: Tensor | float = 0.0, centering: float = 0.0) -> Tensor:
    """Return the Bradley-Terry loss [B] of scores [B]: -log sigmoid(chosen - rejected) (Ouyang et al. 2022).

    The scores of a pair must differ by its margin ([B]; Touvron et al. 2023, arXiv:2307.09288, section 3.2.2).
    `centering` weighs (chosen + rejected)^2, which keeps the mean score near 0: the loss itself determines only
    differences (Eisenstein et al. 2023, arXiv:2312.09244).
    """
    loss = -torch.nn.functional.logsigmoid(chosen - rejected - margins)
    return loss + centering * (chosen + rejected).square()


def reduce(losses: Tensor, mask: Tensor, denominator: int) -> Tensor:
    """Sum `losses` over `mask` and divide by the tokens of the whole optimiser step.

    With a mean per micro-batch, the weight of a token would depend on the size of its micro-batch.
    """
    return torch.where(mask, losses, 0.0).sum() / denominator
