"""Training of an adapter on preference pairs with one of the losses of `losses.py`, with its start as the reference.

The reference log-probabilities are computed once, before the first step, when policy and reference are the same
adapter; so no second copy of it is kept, and no step runs two models. Losses without a reference compute none.
"""

from collections.abc import Sequence

import torch
from peft import PeftModel
from torch import Tensor

from pipelines.alignment.backbone import POLICY, Backbone, train_only
from pipelines.alignment.config import PreferenceBlock
from pipelines.alignment.offline.losses import LOSSES
from pipelines.alignment.offline.reference import MismatchedKL, answer_logprobs
from pipelines.alignment.rl.kl import kl
from pipelines.alignment.sequences import Pair, pair_sizes, plan_pairs
from pipelines.models.head import checked_head
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.progress import track
from pipelines.training.examples import fill
from pipelines.training.loop import fit
from pipelines.training.step import Job, Loss, micro_batch_tokens
from pipelines.training.tuning import hooks

START = 1e-2  # largest relative deviation of the first loss (absolute below 1), as bf16 rounds differently by batch

METRICS = {
    "loss": "loss",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "logps/chosen": "chosen_logprob",
    "logps/rejected": "rejected_logprob",
    "lengths/chosen": "chosen_length",
    "lengths/rejected": "rejected_length",
}
"""Curves of every loss, and their names as metrics of the stage."""
WITH_REFERENCE = {"kl": "kl", "logps/displaced": "displaced"}
"""Those of the losses with a reference."""


class Preference:
    """A preference loss, plus the SFT loss of the chosen answer; the weight is the pairs.

    The SFT loss is the cross entropy summed over the chosen answer and divided by the mean length of all chosen
    answers, so that a token has the same weight in every step. An item is a pair in one epoch: its index, plus the
    number of pairs for each epoch before.
    """

    def __init__(
        self, backbone: Backbone, pairs: Sequence[Pair], config: PreferenceBlock, plan: Sequence[Sequence[int]]
    ) -> None:
        """Leave the reference log-probabilities [pairs, 2] to `refer`; `plan` is the items of every step."""
        self.backbone, self.pairs, self.config = backbone, pairs, config
        self.loss, self.parameters = LOSSES[config.loss], config.loss_parameters
        self.sizes = pair_sizes(pairs) * config.epochs
        lengths = [[len(answer) for _, answer in pair] for pair in pairs]
        self.lengths = torch.tensor(lengths, device=backbone.device)
        self.chosen_tokens = sum(chosen for chosen, _ in lengths) / len(pairs)
        self.reference = torch.zeros(len(pairs), 2, device=backbone.device)
        self.mismatched = MismatchedKL(backbone, pairs, plan) if self.loss.with_kl else None

    @torch.no_grad()
    def refer(self, batches: Sequence[Sequence[int]]) -> None:
        """Take the present adapter as the reference; `batches` name every pair."""
        for rows in track(batches, "reference log-probabilities", len(batches)):
            self.reference[list(rows)] = answer_logprobs(self.backbone, [self.pairs[row] for row in rows])
        if self.mismatched is not None:
            self.mismatched.refer(max(len(rows) * max(self.sizes[row] for row in rows) for rows in batches))

    def __call__(self, model: PeftModel, items: Sequence[int]) -> Loss:
        """Return the sum of the losses of the pairs `items`, with implicit rewards and their statistics as metrics."""
        rows = [item % len(self.pairs) for item in items]
        estimate = {} if self.mismatched is None else {"kl": self.mismatched(items[0], self._padded(items))}
        logs = answer_logprobs(self.backbone, [self.pairs[row] for row in rows])
        ratios = self.loss.log_ratios(logs, self.reference[rows], self.lengths[rows])
        total = self.loss.function(ratios, **self.parameters, **estimate).sum()
        if self.config.sft_weight:
            total = total - self.config.sft_weight * logs[:, 0].sum() / self.chosen_tokens
        metrics = self._metrics(logs.detach(), self.config.beta * ratios.detach(), rows)
        if estimate:
            metrics["mismatched_kl"] = estimate["kl"].expand(len(rows))
        return Loss(total, float(len(items)), {key: value.sum() for key, value in metrics.items()})

    def _padded(self, items: Sequence[int]) -> int:
        return len(items) * max(self.sizes[item] for item in items)

    def _metrics(self, logs: Tensor, rewards: Tensor, rows: list[int]) -> dict[str, Tensor]:
        """Return the metrics [pairs] of log-probabilities and implicit rewards [pairs, 2].

        `kl` is the k2 estimate of KL(policy || reference) in nats per answer, if the log-ratio is spread evenly over
        the tokens; otherwise it is below it. The answers are those of the pairs, not samples of the policy.
        """
        margins, lengths = rewards[:, 0] - rewards[:, 1], self.lengths[rows]
        metrics = {"rewards/margins": margins, "rewards/accuracies": (margins > 0).float()}
        for side, name in enumerate(("chosen", "rejected")):
            metrics |= {f"rewards/{name}": rewards[:, side], f"logps/{name}": logs[:, side]}
            metrics[f"lengths/{name}"] = lengths[:, side].float()
        if self.loss.with_reference:
            reference = self.reference[rows]
            metrics["kl"] = (lengths * kl(logs / lengths, reference / lengths, "k2")).mean(1)
            metrics["logps/displaced"] = (logs[:, 0] < reference[:, 0]).float()
        return metrics

    def check_start(self, rows: Sequence[int]) -> None:
        """Check on some pairs that the loss of the untrained policy is the one of equal policy and reference (ln 2).

        Raises:
            RuntimeError: it is not, so the reference is not the model that training starts from.
        """
        expected = self.loss.at_start(self.parameters)
        if expected is None:
            return
        with torch.no_grad():
            logs = answer_logprobs(self.backbone, [self.pairs[row] for row in rows])
        ratios = self.loss.log_ratios(logs, self.reference[list(rows)], self.lengths[list(rows)])
        loss = float(self.loss.function(ratios, **self.parameters).mean())
        if abs(loss - expected) > START * max(1.0, expected):
            raise RuntimeError(
                f"{self.config.loss} starts at a loss of {loss:.4f}, not {expected:.4f}: its reference is not its start"
            )


def planned(pairs: Sequence[Pair], config: PreferenceBlock, seed: int) -> list[list[int]]:
    """Return the items of every step of all epochs."""
    return [
        [epoch * len(pairs) + row for row in step]
        for epoch in range(config.epochs)
        for step in plan_pairs(pairs, config.batch_size, seed + epoch)
    ]


def train(
    backbone: Backbone, pairs: list[Pair], config: PreferenceBlock, job: Job, tuning: TuningConfig | None = None
) -> dict[str, float]:
    """Train the adapter "default" to prefer the first of each pair; return the steps and the last ones' metrics.

    `tuning` is the method of a new adapter; None: the adapter is continued.

    Raises:
        UserError: the loss becomes NaN, the model's logits are computed in an unknown way, `kto` has one prompt, or the
            steps are too few for the method.
    """
    model, plan = backbone.model, planned(pairs, config, job.compute.seed)
    train_only(model, [POLICY])
    checked_head(model)
    objective = Preference(backbone, pairs, config, plan)
    if objective.loss.with_reference:
        budget = micro_batch_tokens(job.training, model.device, plan, objective.sizes)
        steps = plan[: len(plan) // config.epochs]
        first = [rows for step in steps for rows in fill(step, objective.sizes, budget)]
        objective.refer(first)
        objective.check_start(first[0])
    history = fit(model, objective, plan, job, method=hooks.method(model, tuning, len(plan)))
    names = METRICS | (WITH_REFERENCE if objective.loss.with_reference else {})
    return {"steps": float(len(plan))} | {new: history.tail(old) for old, new in names.items()}
