"""The metrics of a training: its curves in MLflow, its progress, and the means of its last steps."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from pipelines.runtime.progress import Meter
from pipelines.runtime.tracking import Run

POINTS = 100  # points per curve in MLflow
VALIDATIONS = 10  # evaluations of the validation loss during training
SMOOTHING = 0.9  # decay of the moving average of the displayed loss


class History:
    """Metrics of every step since the first, also of those before an interruption."""

    def __init__(
        self, run: Run, what: str, total: int, epochs: int, validate: Callable[[], float] | None, rows: list[Any]
    ) -> None:
        """Log to `run` under the name `what`; `total` steps cover `epochs` epochs, and `rows` are those already done.

        `validate` returns the validation loss; it is called ten times during training.
        """
        self.run, self.total, self.epochs, self.validate, self.rows = run, total, epochs, validate, rows
        self.meter = Meter(what, total, len(rows))
        self.tokens, self.since = 0, time.monotonic()

    def add(self, values: Mapping[str, float], tokens: int) -> None:
        """Record a step over `tokens` tokens (without padding); log the mean of the steps since the last point."""
        self.rows.append(dict(values))
        self.tokens += tokens
        number, every = len(self.rows), max(1, self.total // POINTS)
        if number % every == 0 or number == self.total:
            recent = self.rows[-every:]
            means = {key: sum(row[key] for row in recent) / len(recent) for key in recent[-1]}
            self.run.curve({**means, **self._speed(), "epoch": number / self.total * self.epochs}, number)
        if self.validate is not None and number % max(1, self.total // VALIDATIONS) == 0:
            self.run.curve({"validation_loss": self.validate()}, number)
        self.meter.step(note=f"loss {smoothed([row['loss'] for row in self.rows[-50:]]):.3f}")

    def _speed(self) -> dict[str, float]:
        """Return the tokens per second since the last point, and the peak memory of a GPU in GiB."""
        now = time.monotonic()
        speed = {"tokens_per_second": self.tokens / max(now - self.since, 1e-9)}
        self.tokens, self.since = 0, now
        if torch.cuda.is_available():
            speed["gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        return speed

    def tail(self, key: str) -> float:
        """Return the mean of `key` over the last tenth of all steps."""
        last = self.rows[-max(1, len(self.rows) // 10) :]
        return float(sum(row[key] for row in last) / len(last))

    def close(self) -> None:
        """Close the progress meter."""
        self.meter.close()


def smoothed(values: list[float]) -> float:
    """Return the bias-corrected exponential moving average of the last values (as in Adam)."""
    recent = values[-50:]  # older values weigh less than 1%
    average = 0.0
    for value in recent:
        average = SMOOTHING * average + (1 - SMOOTHING) * value
    return average / (1 - SMOOTHING ** len(recent))
