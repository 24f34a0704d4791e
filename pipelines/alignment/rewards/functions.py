"""Rewards of online training: the reward model, the verdict of the evaluation, Python functions, and weighted sums.

All have one form: they take answers to prompts, and return a score for each.
"""

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipelines import user_functions
from pipelines.alignment import reward_model
from pipelines.alignment.backbone import REWARD, Backbone, using
from pipelines.alignment.rl.samples import Sample
from pipelines.evaluation import scoring
from pipelines.runtime.errors import UserError

RewardFn = Callable[[Sequence[Sample]], Tensor]
"""Returns the scores [N] of N answers, in their order."""


@dataclass(frozen=True)
class Verdict:
    """The ternary reward: 1 for a correct answer, 0 for a refusal, -t / (1 - t) for a wrong answer.

    To answer pays if the probability of being correct is above t (Kalai et al. 2025, arXiv:2509.04664). Answers are
    scored by the rules of the evaluation; an unanswerable question has no correct answer.
    """

    refusal: str
    max_extra_words: int
    target: float
    """The t above."""

    def of(self, sample: Sample) -> str:
        """Return the verdict `correct`, `refused` or `wrong`."""
        return scoring.verdict(sample.text, sample.prompt.question, self.refusal, self.max_extra_words)

    def __call__(self, samples: Sequence[Sample]) -> Tensor:
        """Return the scores [N]."""
        values = {"correct": 1.0, "refused": 0.0, "wrong": -self.target / (1 - self.target)}
        return torch.tensor([values[self.of(sample)] for sample in samples])


def from_model(backbone: Backbone, folder: Path, microbatch: int) -> RewardFn:
    """Add the adapter of the reward model in `folder` to `backbone`, and return it with its head as a reward.

    Raises:
        UserError: the reward model is of another model or method, or has no head.
    """
    head = reward_model.add(backbone, folder, REWARD)

    def score(samples: Sequence[Sample]) -> Tensor:
        turns = [sample.turn for sample in samples]
        scores = torch.empty(len(turns), device=backbone.device)
        with using(backbone.model, REWARD):
            for rows, found in reward_model.batch_scores(backbone, head, turns, microbatch):
                scores[rows] = found
        return scores

    return score


def from_function(name: str, parameter: str) -> RewardFn:
    """Return the function `package.module:function` as a reward.

    It is called with three lists of equal length: prompts (each a list of messages), answers and reference answers
    (texts); it returns a number for each answer.

    Raises:
        UserError: the function cannot be imported; later, it raises or does not return one finite number per answer.
    """
    function = user_functions.load(name, parameter)

    def score(samples: Sequence[Sample]) -> Tensor:
        prompts = [list(sample.prompt.messages) for sample in samples]
        references = [sample.prompt.reference for sample in samples]
        try:
            found = function(prompts, [sample.text for sample in samples], references)
            count = len(found) if isinstance(found, Sized) else None
            scores = torch.as_tensor(found, dtype=torch.float32)
        except Exception as error:
            raise UserError(f"{parameter}: {name} raised {type(error).__name__}: {error}") from error
        if count != len(samples) or scores.shape != (len(samples),):
            raise UserError(
                f"{parameter}: {name} returned {count if count is not None else 'no'} scores for {len(samples)} "
                "answers; it must return one number per answer."
            )
        return scores

    return score


@dataclass(frozen=True)
class WeightedReward:
    """A weighted sum of rewards."""

    parts: Mapping[str, tuple[float, RewardFn]]
    """Weight and reward by name."""
    parameter: str
    """The parameter that names them, for error messages."""
    device: torch.device

    def __call__(self, samples: Sequence[Sample]) -> Tensor:
        """Return the scores [N].

        Raises:
            UserError: a score is NaN or infinite.
        """
        total = torch.zeros(len(samples), device=self.device)
        for name, (weight, reward) in self.parts.items():
            scores = reward(samples).to(self.device)
            if not scores.isfinite().all():
                place = int((~scores.isfinite()).nonzero()[0])
                raise UserError(
                    f"{self.parameter}: {name} scored an answer with {float(scores[place])}: {samples[place].text!r}; "
                    "a score must be finite."
                )
            total = total + weight * scores
        return total
