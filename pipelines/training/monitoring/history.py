"""The metrics of a training: curves in MLflow, progress, the best validation, and the means of the last steps."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from pipelines.evaluation.in_training.sample import LOSS, SCORE
from pipelines.runtime.progress import Meter, say
from pipelines.training.config import VALIDATIONS
from pipelines.training.monitoring.utilization import Utilization
from pipelines.training.step import Job, of_rank_0

POINTS = 100  # points per curve in MLflow
SMOOTHING = 0.9  # decay of the moving average of the displayed loss

Validate = Callable[[int], Mapping[str, float]]
"""Returns what is measured after a step: `LOSS`, and the metrics of questions if some are asked."""


class History:
    """Metrics of every step since the first, also of those before an interruption, and early stopping."""

    def __init__(
        self,
        job: Job,
        total: int,
        validate: Validate | None,
        rows: list[Any],
        validations: list[Any],
        utilization: Utilization | None,
    ) -> None:
        """Log the `total` steps of `job`; `rows` and `validations` (step, measurements) are those already done.

        `validate` is called ten times during training.
        """
        self.job, self.total, self.validate, self.utilization = job, total, validate, utilization
        self.rows, self.validations = rows, validations
        self.meter = Meter(job.what, total, len(rows))
        self.tokens, self.flops, self.since = 0, 0.0, time.monotonic()

    def add(self, values: Mapping[str, float], sizes: Sequence[int]) -> None:
        """Record a step over items of `sizes` tokens, without padding; log the means since the last point."""
        self.rows.append(dict(values))
        self.tokens += sum(sizes)
        self.flops += self.utilization.flops(sizes) if self.utilization else 0.0
        number, every = len(self.rows), max(1, self.total // POINTS)
        if number % every == 0 or number == self.total:
            recent = self.rows[-every:]
            means = {key: sum(row[key] for row in recent) / len(recent) for key in recent[-1]}
            self.job.run.curve({**means, **self._speed(), "epoch": number / self.total * self.job.epochs}, number)
        if self.validate is not None and number * VALIDATIONS // self.total > (number - 1) * VALIDATIONS // self.total:
            begun = time.monotonic()
            self.validations.append((number, dict(of_rank_0(self.validate(number)))))
            self.job.run.curve(self.validations[-1][1], number)
            self.since += time.monotonic() - begun
        self.meter.step(note=f"loss {smoothed([row['loss'] for row in self.rows[-50:]]):.3f}")

    def _speed(self) -> dict[str, float]:
        """Return the tokens per second of training and the MFU since the last point, and a GPU's peak memory in GiB."""
        now = time.monotonic()
        seconds = max(now - self.since, 1e-9)
        speed = {"tokens_per_second": self.tokens / seconds}
        if self.utilization is not None:
            speed["mfu"] = self.flops / seconds / self.utilization.peak
        self.tokens, self.flops, self.since = 0, 0.0, now
        if torch.cuda.is_available():
            speed["gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        return speed

    def best(self) -> tuple[int, dict[str, float]] | None:
        """Return the step and the measurements of the best validation by `training.criterion`, the first of equal ones.

        None without `training.patience`, or before the first validation.
        """
        if self.job.training.patience is None or not self.validations:
            return None
        by_score = self._by_score()
        step, measured = min(self.validations, key=lambda each: (-each[1][SCORE] if by_score else 0.0, each[1][LOSS]))
        return int(step), measured

    def _by_score(self) -> bool:
        """Return whether validations are compared by their score, and only equal ones by their loss."""
        return self.job.training.criterion == "accuracy" and all(SCORE in measured for _, measured in self.validations)

    def best_step(self) -> int | None:
        """Return the step of the best validation; None as for `best`."""
        best = self.best()
        return best and best[0]

    def exhausted(self) -> bool:
        """Return whether the last `training.patience` validations did not improve on the best one, and report it."""
        best, patience = self.best(), self.job.training.patience
        if best is None or patience is None or sum(step > best[0] for step, _ in self.validations) < patience:
            return False
        name, value = ("score", best[1][SCORE]) if self._by_score() else ("loss", best[1][LOSS])
        say(
            f"{self.job.what}: the validation {name} has not improved on {value:.4f} of step {best[0]} in {patience} "
            f"validations; stopped after {len(self.rows)} of {self.total} steps"
        )
        return True

    def chosen(self) -> dict[str, float]:
        """Return the step whose weights early stopping restored, and its measurements, as metrics."""
        best = self.best()
        if best is None:
            return {}
        measured = {f"best_{key.replace('/', '_')}": value for key, value in best[1].items()}
        return {"best_step": float(best[0]), **measured}

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
