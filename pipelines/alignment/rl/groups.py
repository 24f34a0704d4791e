"""Advantages of answers within the group of a prompt, without a critic, and the weights of their tokens in the loss.

| variant | advantage of an answer | loss |
| --- | --- | --- |
| grpo (Shao et al. 2024) | (r - mean) / standard deviation | mean over answers of the mean over their tokens |
| dr_grpo (Liu et al. 2025) | r - mean | sum of all tokens / (answers x maximum length) |
| rloo (Ahmadian et al. 2024) | r - mean of the other answers | mean over answers of the sum over their tokens |

GRPO's division by length makes long wrong answers cheap, and its division by the standard deviation gives nearly solved
prompts more weight; Dr. GRPO has neither.
"""

from typing import Literal

import torch
from torch import Tensor

Variant = Literal["grpo", "rloo", "dr_grpo"]

MIN_STD = 1e-6  # a group below has equal scores, up to rounding


def group_advantages(rewards: Tensor, variant: Variant) -> Tensor:
    """Return the advantages [P, G] of G answers to each of P prompts with `rewards` [P, G]; zero if these are equal."""
    centred = torch.where(informative(rewards)[:, None], rewards - rewards.mean(dim=1, keepdim=True), 0.0)
    if variant == "grpo":
        return centred / rewards.std(dim=1, keepdim=True).clamp(min=MIN_STD)
    if variant == "rloo":
        size = rewards.shape[1]
        return centred * size / (size - 1)  # r - (sum - r) / (size - 1)
    return centred


def informative(rewards: Tensor) -> Tensor:
    """Return which of P groups have different `rewards` [P, G]; of equal ones no answer is better than another."""
    return rewards.std(dim=1) > MIN_STD


def token_weights(mask: Tensor, variant: Variant, max_new_tokens: int) -> Tensor:
    """Return the weights [B, T] of the tokens in `mask` [B, T]; the loss is their weighted sum / number of answers."""
    weights = mask.to(torch.float32)
    if variant == "grpo":
        return weights / mask.sum(dim=1, keepdim=True).clamp(min=1)
    return weights / max_new_tokens if variant == "dr_grpo" else weights
