"""Direct preference optimisation (Rafailov et al. 2023) of the SFT adapter, with its start as the reference.

The reference log-probabilities are computed once, before the first step, when policy and reference are the same
adapter; so no second copy of it is kept, and no step runs two models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import PreTrainedTokenizerBase

from pipelines.alignment.backbone import POLICY, Backbone, train_only
from pipelines.alignment.config import DPOBlock
from pipelines.alignment.sequences import Pair, collate, pair_sizes, plan_pairs
from pipelines.models.config import ComputeConfig
from pipelines.models.head import checked_head
from pipelines.runtime.progress import track
from pipelines.runtime.tracking import Run
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.config import TrainingConfig
from pipelines.training.examples import fill
from pipelines.training.loop import fit
from pipelines.training.step import Job, Loss, micro_batch_tokens

START = 1e-2  # largest deviation of the first loss from ln 2, since bf16 rounds differently in batches of other shapes


@dataclass
class Preference:
    """-log sigmoid(beta x margin of the log-ratios), plus the SFT loss of the chosen answer; the weight is the pairs.

    The SFT loss is the cross entropy summed over the chosen answer and divided by the mean length of all chosen
    answers, so that a token has the same weight in every step.
    """

    backbone: Backbone
    pairs: Sequence[Pair]
    beta: float
    sft_weight: float

    def __post_init__(self) -> None:
        """Leave the reference log-probabilities [pairs, 2] to `refer`."""
        self.sizes = pair_sizes(self.pairs)
        self.chosen_tokens = sum(len(chosen[1]) for chosen, _ in self.pairs) / len(self.pairs)
        self.reference = torch.zeros(len(self.pairs), 2, device=self.backbone.device)

    @torch.no_grad()
    def refer(self, batches: Sequence[Sequence[int]]) -> None:
        """Take the present adapter as the reference; `batches` name every pair."""
        for items in track(batches, "align.dpo reference", len(batches)):
            self.reference[list(items)] = self.logprobs(items)

    def logprobs(self, items: Sequence[int]) -> Tensor:
        """Return the summed log-probabilities [items, 2] of the chosen and the rejected answers."""
        turns = [self.pairs[item][side] for side in (0, 1) for item in items]
        logs, _ = self.backbone.policy(collate(turns, self.backbone.tok.pad_token_id, self.backbone.device), 1.0)
        return logs.sum(1).view(2, len(items)).T

    def __call__(self, model: PeftModel, items: Sequence[int]) -> Loss:
        """Return the sum of the losses of the pairs `items`, with implicit rewards as metrics."""
        logs = self.logprobs(items)
        rewards = self.beta * (logs - self.reference[list(items)])
        margins = rewards[:, 0] - rewards[:, 1]
        total = -logsigmoid(margins).sum()
        if self.sft_weight:
            total = total - self.sft_weight * logs[:, 0].sum() / self.chosen_tokens
        metrics = {
            "rewards/chosen": rewards[:, 0],
            "rewards/rejected": rewards[:, 1],
            "rewards/margins": margins,
            "rewards/accuracies": (margins > 0).float(),
            "logps/chosen": logs[:, 0],
            "logps/rejected": logs[:, 1],
        }
        return Loss(total, float(len(items)), {key: value.detach().sum() for key, value in metrics.items()})

    def check_start(self, items: Sequence[int]) -> None:
        """Check on some pairs that the loss of the untrained policy is ln 2.

        Raises:
            RuntimeError: it is not, so the reference is not the model that training starts from.
        """
        margins = self.beta * (self.logprobs(items).detach() - self.reference[list(items)]).diff(dim=1)
        loss = float(-logsigmoid(margins).mean())
        if abs(loss - math.log(2)) > START:
            raise RuntimeError(f"DPO starts at a loss of {loss:.4f}, not ln 2: its reference is not its start")


def train(
    model: PeftModel,
    tok: PreTrainedTokenizerBase,
    pairs: list[Pair],
    config: DPOBlock,
    training: TrainingConfig,
    compute: ComputeConfig,
    run: Run,
    checkpoints: Checkpoints,
) -> dict[str, float]:
    """Train the adapter "default" of `model` to prefer the first of each pair; return the metrics of the last steps.

    Raises:
        UserError: the loss becomes NaN, or the model's logits are computed in an unknown way.
    """
    plan = [
        batch for epoch in range(config.epochs) for batch in plan_pairs(pairs, config.batch_size, compute.seed + epoch)
    ]
    train_only(model, [POLICY])
    checked_head(model)
    objective = Preference(Backbone(model, tok, compute), pairs, config.beta, config.sft_weight)
    job = Job("align.dpo", config.learning_rate, config.epochs, training, compute, run, checkpoints)
    budget = micro_batch_tokens(training, model.device, plan, objective.sizes)
    first = [items for step in plan[: len(plan) // config.epochs] for items in fill(step, objective.sizes, budget)]
    objective.refer(first)
    objective.check_start(first[0])
    history = fit(model, objective, plan, job)
    names = {
        "loss": "loss",
        "rewards/accuracies": "accuracy",
        "rewards/margins": "margin",
        "logps/chosen": "chosen_logprob",
    }
    return {new: history.tail(old) for old, new in names.items()}
