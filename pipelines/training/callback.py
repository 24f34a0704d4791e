"""What a trainer tells while it works: the loss of each step to MLflow, progress to the terminal."""

import math
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipelines.errors import UserError
from pipelines.progress import Meter
from pipelines.tracking import Run


class ReportCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by the type checker
    """Reports a transformers Trainer.

    Raises:
        UserError: at a logging step, when the loss is NaN or infinite.
    """

    def __init__(self, run: Run, what: str) -> None:
        """Log to `run`; `what` names the work in a word."""
        self.run, self.what = run, what
        self.meter: Meter | None = None
        self.note = ""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the count."""
        self.meter = Meter(self.what, state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Count one step."""
        assert self.meter is not None
        self.meter.step(note=self.note)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **_: Any,
    ) -> None:
        """Keep what the trainer measured."""
        if not math.isfinite(logs.get("loss", 0.0)):
            raise UserError(
                f"The loss became {logs['loss']} at step {state.global_step}; lower {self.what}.learning_rate."
            )
        if "loss" in logs:
            self.note = f"loss {logs['loss']:.3f}"
            self.run.metrics(
                {key: value for key, value in logs.items() if isinstance(value, int | float)},
                state.global_step,
            )

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """End the count."""
        if self.meter is not None:
            self.meter.close()
