"""The process reward of online training: the probability of the worst step, by a process reward model."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipelines.alignment import reward_model
from pipelines.alignment.backbone import Backbone, using
from pipelines.alignment.process.step_reward import step_scores
from pipelines.alignment.process.steps import Solution
from pipelines.alignment.rewards.functions import RewardFn
from pipelines.alignment.rl.samples import Sample

PROCESS = "process"
"""Name of the adapter, and of the reward."""


def from_process_model(backbone: Backbone, folder: Path, microbatch: int) -> RewardFn:
    """Add the adapter of the process reward model in `folder` to `backbone`, and return its minimum as a reward.

    The reward of an answer is min over its steps (lines) of the probability that the step is right, in [0, 1]. A sum
    over steps grows with their number, and training on it collapses (PURE, Cheng et al. 2025, arXiv:2504.15275); the
    minimum does not. Add a reward of the final answer with a small weight against exploitation of the model.

    Raises:
        UserError: the reward model is of another model or method, or has no head.
    """
    head = reward_model.add(backbone, folder, PROCESS)

    def score(samples: Sequence[Sample]) -> Tensor:
        solutions = [Solution.of(backbone.tok, sample.turn) for sample in samples]
        with using(backbone.model, PROCESS):
            scores = step_scores(backbone, head, solutions, microbatch)
        return torch.tensor([math.exp(min(each)) for each in scores], device=backbone.device)

    return score
