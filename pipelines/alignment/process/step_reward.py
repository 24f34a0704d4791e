"""Process and outcome reward models: an adapter on the policy's backbone, and a head that scores the ends of steps.

A process reward model is trained on the labels of all steps, at the last token of each; other positions are ignored (as
in TRL's PRMTrainer). An outcome reward model is the same model, trained on the label of the final answer at the last
token of the same solutions, so that both differ in their labels only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor, nn

from pipelines.alignment.backbone import POLICY, Backbone, named_head, named_weights, scalars
from pipelines.alignment.process.rollouts import Labelled
from pipelines.alignment.process.steps import Solution
from pipelines.alignment.sequences import by_length, collate
from pipelines.runtime.errors import UserError
from pipelines.training.examples import plan_batches
from pipelines.training.loop import fit
from pipelines.training.step import Job, Loss

AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "product": sum,
    "last": lambda scores: scores[-1],
}
"""The score of a solution from the log-probabilities of its steps. Math-Shepherd takes the minimum: a solution is as
good as its worst step, and a longer one is not worse for its length, as by the product."""


@dataclass(frozen=True)
class StepExample:
    """A solution with the labels, between 0 and 1, of the steps at `solution.ends`."""

    solution: Solution
    targets: list[float]


def process_examples(labelled: Sequence[Labelled], soft: bool) -> list[StepExample]:
    """Return the labelled solutions with their hard or soft label of every step, without rejected ones."""
    return [StepExample(each.solution, each.targets(soft)) for each in labelled if each.rejected is None]


def outcome_examples(labelled: Sequence[Labelled]) -> list[StepExample]:
    """Return the same solutions with one label, whether the final answer is right, at the last token."""
    kept = [each for each in labelled if each.rejected is None]
    return [StepExample(last_only(each.solution), [float(each.correct)]) for each in kept]


def last_only(solution: Solution) -> Solution:
    """Return the solution as a single step, as an outcome reward model scores it."""
    return Solution(solution.prompt, solution.response, solution.ends[-1:])


@dataclass(frozen=True)
class StepCrossEntropy:
    """Binary cross entropy of the logits at the ends of steps against their labels; the weight is their number."""

    backbone: Backbone
    head: nn.Linear
    examples: Sequence[StepExample]

    @cached_property
    def sizes(self) -> list[int]:
        """Tokens of each solution with its prompt."""
        return [len(each.solution.prompt) + len(each.solution.response) for each in self.examples]

    def __call__(self, model: PeftModel, items: Sequence[int]) -> Loss:
        """Return the sum of the losses of the steps of the solutions `items`, with their accuracy as a metric."""
        examples = [self.examples[item] for item in items]
        logits = step_logits(self.backbone, self.head, [each.solution for each in examples])
        targets = torch.tensor([target for each in examples for target in each.targets], device=logits.device)
        correct = ((logits > 0) == (targets > 0.5)).float().sum()
        total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return Loss(total, float(len(targets)), {"accuracy": correct})


def train(backbone: Backbone, head: nn.Linear, examples: Sequence[StepExample], batch_tokens: int, job: Job) -> None:
    """Train the active adapter of `backbone` and `head` on the labels of steps, in steps of at most `batch_tokens`.

    Raises:
        UserError: there is no solution, all labels are equal, or the loss becomes NaN.
    """
    labels = {target for each in examples for target in each.targets}
    if len(labels) < 2:
        raise UserError(
            f"{job.what}: all {len(examples)} labelled solutions have the label {next(iter(labels), 'none')}, from "
            "which nothing can be learnt; sample more solutions, or take a policy that is right more or less often."
        )
    objective = StepCrossEntropy(backbone, head, examples)
    plan = plan_batches(objective.sizes, [1.0] * len(examples), job.epochs, batch_tokens, job.compute.seed)
    fit(backbone.model, objective, plan, job, named_weights(backbone.model, POLICY) | named_head(head))


def step_logits(backbone: Backbone, head: nn.Linear, solutions: Sequence[Solution]) -> Tensor:
    """Return the logits [N] of the active adapter at the ends of the steps of all solutions, in order."""
    batch = collate([each.turn for each in solutions], backbone.tok.pad_token_id, backbone.device)
    rows = [row for row, each in enumerate(solutions) for _ in each.ends]
    places = [len(each.prompt) + end for each in solutions for end in each.ends]
    return scalars(head, backbone.hidden(batch)[rows, places])


@torch.no_grad()
def step_scores(
    backbone: Backbone, head: nn.Linear, solutions: Sequence[Solution], batch_size: int
) -> list[list[float]]:
    """Return the log-probability, by the active adapter, that each step of each solution is right."""
    scores: list[list[float]] = [[] for _ in solutions]
    for rows in by_length([each.turn for each in solutions], batch_size):
        part = [solutions[row] for row in rows]
        found = F.logsigmoid(step_logits(backbone, head, part))
        for row, values in zip(rows, torch.split(found, [len(each.ends) for each in part]), strict=True):
            scores[row] = values.tolist()
    return scores
