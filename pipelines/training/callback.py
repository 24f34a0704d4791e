"""Report the progress of a transformers Trainer, and save and restore its checkpoints."""

import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, get_scheduler

from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import Meter
from pipelines.runtime.tracking import Run
from pipelines.training.checkpoints import Checkpoints, State, pack, restore_generators, unpack

POINTS = 100  # points per curve in MLflow
VALIDATIONS = 10  # evaluations of the validation loss during training
SMOOTHING = 0.9  # decay of the moving average of the displayed loss


class ReportCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by the type checker
    """Log every step of a Trainer and resume it from its last checkpoint.

    The Trainer gets only the remaining batches, because its own resume trusts half-written files. `history` has the
    logs of every step since the first.

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
        """Log to `run` under the name `what`; `total` steps cover `epochs` epochs.

        `validate` returns the validation loss; it is called ten times during training.
        """
        self.epochs, self.validate = epochs, validate
        self.run, self.what, self.total, self.checkpoints = run, what, total, checkpoints
        self.saved = checkpoints.latest()
        self.done = self.saved.step if self.saved else 0
        self.history: list[dict[str, float]] = self.saved.facts["history"] if self.saved else []

    def train(self, trainer: Any) -> None:
        """Run the batches of `trainer.plan` that are not done yet."""
        self.trainer = trainer
        trainer.create_optimizer()
        warmup = trainer.args.get_warmup_steps(self.total)
        kind = trainer.args.lr_scheduler_type
        trainer.lr_scheduler = get_scheduler(
            kind, trainer.optimizer, warmup, self.total
        )  # the Trainer's own schedule would cover only the remaining steps
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
        """Start the progress meter."""
        self.meter = Meter(self.what, self.total, self.done)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Restore the random generators after the Trainer and its loader have used them."""
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
        """Record the logs of a step, and write a checkpoint when it is due."""
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
        """Close the progress meter."""
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
    """Return the bias-corrected exponential moving average of the last values (as in Adam)."""
    recent = values[-50:]  # older values weigh less than 1%
    average = 0.0
    for value in recent:
        average = SMOOTHING * average + (1 - SMOOTHING) * value
    return average / (1 - SMOOTHING ** len(recent))
