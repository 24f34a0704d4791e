"""What a transformers Trainer tells while it works, and what it keeps so that a killed training goes on."""

import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, get_scheduler

from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import Meter
from pipelines.runtime.tracking import Run
from pipelines.training.checkpoints import Checkpoints, State, pack, restore_generators, unpack

POINTS = 100  # of a curve in MLflow
VALIDATIONS = 10  # measurements of the validation loss on the way
SMOOTHING = 0.9  # weight of what was before, in the loss that the terminal shows


class ReportCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by the type checker
    """Reports a Trainer that logs every step, and lets it go on from its last checkpoint.

    The Trainer is given only what is left to do; its own way to resume trusts half-written files. `history` holds what
    it logged at each step, from the very first.

    Raises:
        UserError: the loss of a step is NaN or infinite.
    """

    def __init__(
        self,
        run: Run,
        what: str,
        total: int,
        checkpoints: Checkpoints,
        epochs: int = 1,
        validate: Callable[[], float] | None = None,
    ) -> None:
        """Log to `run`; `what` names the work in a word; `total` steps are so many `epochs`.

        `validate` returns the validation loss, which is measured ten times on the way.
        """
        self.epochs, self.validate = epochs, validate
        self.run, self.what, self.total, self.checkpoints = run, what, total, checkpoints
        self.saved = checkpoints.latest()
        self.done = self.saved.step if self.saved else 0
        self.history: list[dict[str, float]] = self.saved.facts["history"] if self.saved else []

    def train(self, trainer: Any) -> None:
        """Have `trainer`, which holds the whole `plan` of batches, run those that are left."""
        self.trainer = trainer
        trainer.create_optimizer()
        warmup = trainer.args.get_warmup_steps(self.total)
        kind = trainer.args.lr_scheduler_type
        trainer.lr_scheduler = get_scheduler(kind, trainer.optimizer, warmup, self.total)  # its own is for what is left
        if self.saved:
            unpack(self.saved.tensors, self._weights(), trainer.optimizer)
            trainer.lr_scheduler.load_state_dict(self.saved.facts["schedule"])
            for group, rate in zip(trainer.optimizer.param_groups, trainer.lr_scheduler.get_last_lr(), strict=True):
                group["lr"] = rate
        trainer.plan, trainer.args.max_steps = trainer.plan[self.done :], self.total - self.done
        if trainer.plan:
            with self.checkpoints.guarded():
                trainer.train()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the count."""
        self.meter = Meter(self.what, self.total, self.done)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Put the generators back, after the Trainer and its loader have drawn from them."""
        if self.saved and state.global_step == 0:
            restore_generators(self.saved.tensors)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **_: Any,
    ) -> None:
        """Keep what a step measured, and the training itself when that is due."""
        if "loss" not in logs:
            return
        number = self.done + state.global_step
        if not math.isfinite(logs["loss"]):
            raise UserError(f"The loss became {logs['loss']} at step {number}; lower {self.what}.learning_rate.")
        self.history.append({key: float(value) for key, value in logs.items() if isinstance(value, int | float)})
        every = max(1, self.total // POINTS)
        if number % every == 0 or number == self.total:
            recent = self.history[-every:]
            means = {key: sum(one[key] for one in recent) / len(recent) for key in recent[-1]}
            self.run.curve({**means, "epoch": number / self.total * self.epochs}, number)
        if self.validate is not None and number % max(1, self.total // VALIDATIONS) == 0:
            self.run.curve({"validation_loss": self.validate()}, number)
            self.trainer.model.train()
        self.meter.step(note=f"loss {smoothed([one['loss'] for one in self.history]):.3f}")
        self.checkpoints.step(number, self._state)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """End the count."""
        self.meter.close()

    def tail(self, key: str) -> float:
        """Return the mean of `key` over the last tenth of all steps."""
        last = self.history[-max(1, len(self.history) // 10) :]
        return sum(one[key] for one in last) / len(last)

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: weight for name, weight in self.trainer.model.named_parameters() if weight.requires_grad}

    def _state(self) -> State:
        facts = {"history": self.history, "schedule": self.trainer.lr_scheduler.state_dict()}
        return pack(self._weights(), self.trainer.optimizer), facts


def smoothed(values: list[float]) -> float:
    """Return the exponential moving average of the last values, corrected for its start (as Adam's is)."""
    recent = values[-50:]  # what was before weighs less than a hundredth
    average = 0.0
    for value in recent:
        average = SMOOTHING * average + (1 - SMOOTHING) * value
    return average / (1 - SMOOTHING ** len(recent))
