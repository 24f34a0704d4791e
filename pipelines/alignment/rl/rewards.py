"""Token rewards from scores."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ScoreNorm:
    """Mean and standard deviation of the scores of the row's policy, fixed at the start (Ziegler et al. 2019)."""

    mean: float
    std: float

    @classmethod
    def of(cls, scores: Tensor) -> "ScoreNorm":
        """Measure `scores` [N]; for equal scores the standard deviation is set to 1."""
        std = float(scores.std(correction=0))
        return cls(float(scores.mean()), std if std > 1e-6 else 1.0)

    def __call__(self, scores: Tensor) -> Tensor:
        """Return `scores` in standard deviations from the mean."""
        return (scores - self.mean) / self.std


def shape_scores(scores: Tensor, ended: Tensor, penalty: float, clip: float) -> Tensor:
    """Clip normalised `scores` [B] to ±`clip`, then subtract `penalty` from responses that did not end."""
    return scores.clamp(-clip, clip) - penalty * (~ended).to(scores.dtype)


def token_rewards(scores: Tensor, kl: Tensor, last: Tensor, beta: float, mask: Tensor) -> Tensor:
    """Return rewards [B, T]: -`beta` x `kl` on every response token, plus the score [B] on the token `last`.

    `last` is the end-of-turn token, the position on which the reward model was trained.
    """
    rewards = torch.where(mask, -beta * kl, 0.0)
    return rewards.scatter_add(1, last[:, None], scores[:, None].to(rewards.dtype))
