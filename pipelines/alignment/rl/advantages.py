"""Advantages: how much better each token was than the critic predicted."""

import torch
from torch import Tensor


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Return advantages [B, T] by generalised advantage estimation (Schulman et al. 2016), and returns [B, T].

    The returns, which the critic learns, are discounted sums of rewards: `lam` is 1 for them (decoupled GAE, Yuan et
    al. 2025, arXiv:2503.01491). With a smaller one they would contain the values, which the critic would explain by
    itself.
    The value after the last token of a response is zero, regardless of the padding.
    """
    rewards, values = torch.where(mask, rewards, 0.0), torch.where(mask, values, 0.0)
    advantages, returns = torch.zeros_like(rewards), torch.zeros_like(rewards)
    following = next_value = total = torch.zeros_like(rewards[:, 0])
    for step in reversed(range(rewards.shape[1])):
        delta = rewards[:, step] + gamma * next_value - values[:, step]
        following = delta + gamma * lam * following
        total = rewards[:, step] + gamma * total
        advantages[:, step], returns[:, step] = following, total
        next_value = values[:, step]
    return torch.where(mask, advantages, 0.0), torch.where(mask, returns, 0.0)


def whiten(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """Scale `values` to standard deviation 1 (population) over the tokens in `mask`, and to mean 0 if `shift_mean`."""
    kept = values[mask]
    mean = kept.mean()
    scaled = (values - mean) * torch.rsqrt(kept.var(correction=0) + 1e-8)
    return torch.where(mask, scaled if shift_mean else scaled + mean, 0.0)


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """Return the share of the variance of `returns` [N] that `values` [N] explain; 1 is perfect."""
    variance = returns.var(correction=0)
    return float(1 - (returns - values).var(correction=0) / variance) if variance > 1e-12 else 0.0
