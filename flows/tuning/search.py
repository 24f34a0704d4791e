"""The search: trials one after the other until the time is over.

A trial starts only if the time left covers its first rung. The running one is stopped at the limit, with a checkpoint
from which the same command goes on.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from optuna.trial import Trial, TrialState

from flows.run import overrides
from flows.tuning.ranges import assignments
from flows.tuning.study import Fact, Study
from flows.tuning.trial import TrialFolder
from pipelines.artifacts import Row
from pipelines.evaluation.in_training.sample import ACCURACY, HALLUCINATION_RATE, LOSS, SCORE
from pipelines.runtime import tracking
from pipelines.runtime.errors import UserError

FAILURES = 3  # trials in a row that fail before the search is given up
_EVERY = 0.2  # seconds between two looks at a trial


@dataclass
class Progress:
    """What a search has come to, for its display."""

    deadline: float
    """`time.monotonic()` at the end of the budget."""
    number: int | None = None
    """The running trial."""
    share: float = 0.0
    """Share of its training that is done."""


@dataclass(frozen=True)
class Search:
    """A search of one stage in a study."""

    stage: str
    study: Study
    text: str
    """params.yaml."""
    inputs: tuple[str, ...]
    """Paths that the stage reads."""
    parent: tracking.Run
    """The MLflow run of the search; those of its trials are its children."""
    usual: float | None
    """Seconds up to the first rung with the present parameters, if known."""
    progress: Progress
    shown: Callable[[str], None]
    """Called with a line about every event."""

    def run(self, most: int | None) -> str:
        """Run trials until the deadline, or until `most` have ended; return why it ended and what was not started.

        Raises:
            UserError: `FAILURES` trials in a row failed.
        """
        while True:
            ended = sum(each.state.is_finished() for each in self.study.trials)
            if most is not None and ended >= most:
                return f"All {ended} trials have ended."
            left = self.progress.deadline - time.monotonic()
            if left <= 0:
                return "The time is over" + (f"; {most - ended} of {most} trials have not ended." if most else ".")
            trial = self.study.next()
            needed = self.study.first_rung(trial, self._epochs(trial), self.usual)
            if needed > left:
                return (
                    f"{self._named(trial)} was not started: its first rung takes about {needed:.0f} s, and "
                    f"{left:.0f} s were left."
                )
            self._train(trial)
            failures = self.study.failures()
            if len(failures) >= FAILURES:
                raise UserError(f"{len(failures)} trials in a row failed, the last of them: {failures[-1]}")

    def _named(self, trial: Trial) -> str:
        return f"Trial {trial.number} ({', '.join(assignments(self.study.values(trial)))})"

    def _params(self, trial: Trial) -> str:
        return overrides.changed(self.text, assignments(self.study.values(trial)))

    def _epochs(self, trial: Trial) -> int:
        return overrides.checked(self._params(trial), f"params.yaml of trial {trial.number}").sft.epochs

    def _train(self, trial: Trial) -> None:
        """Train until the trial ends, is pruned, fails, or the time is over; then it stays unfinished."""
        folder = TrialFolder((self.study.folder / str(trial.number)).resolve(), self.stage)
        folder.prepare(self._params(trial), self.inputs)
        trial.set_user_attr(Fact.EPOCHS, self._epochs(trial))
        self.shown(f"{self._named(trial)} started")
        spent, began = float(trial.user_attrs.get(Fact.SECONDS, 0.0)), time.monotonic()
        self.progress.number, pruned = trial.number, False
        program = folder.start(self.parent)
        try:
            while not pruned and program.process.poll() is None and time.monotonic() < self.progress.deadline:
                time.sleep(_EVERY)
                pruned = self._follow(trial, folder, spent + time.monotonic() - began)
        finally:
            stopped = program.process.poll() is None
            program.stop()
            status = program.wait()
            pruned |= self._follow(trial, folder, spent + time.monotonic() - began)
            self.progress.number, self.progress.share = None, 0.0
            folder.end_run({"trial": str(trial.number)})
        if status == 0:
            self._complete(trial, folder)
        elif pruned:
            self._end(trial, TrialState.PRUNED)
        elif not stopped:
            self._end(trial, TrialState.FAIL, failure=folder.failure(status))
        else:
            self.shown(f"trial {trial.number} stopped at the limit; the same command continues it")
            return
        folder.remove()

    def _follow(self, trial: Trial, folder: TrialFolder, seconds: float) -> bool:
        """Store new measurements of the trial; return whether it is to end."""
        curve = folder.curve()
        validations = [row for row in curve if self.study.objective in row]
        known = self.study.trials[trial.number]
        epochs = max((row["epoch"] for row in curve if "epoch" in row), default=0.0)
        self.progress.share = epochs / known.user_attrs[Fact.EPOCHS]
        if len(validations) <= len(known.intermediate_values):
            return False
        last, share = validations[-1], self.progress.share
        self.shown(f"trial {trial.number}: {share:.0%}, {self.study.objective} {last[self.study.objective]:.3f}")
        return self.study.report(
            trial, [row[self.study.objective] for row in validations], seconds, share, measured(last)
        )

    def _complete(self, trial: Trial, folder: TrialFolder) -> None:
        """End the trial with the validation of the weights that its training ended with."""
        validations = [row for row in folder.curve() if self.study.objective in row]
        kept = folder.metrics().get("best_step", validations[-1]["step"])  # early stopping restores earlier weights
        row = next(row for row in validations if row["step"] == kept)
        trial.set_user_attr(Fact.MEASURED, measured(row))
        self.parent.metrics({self.study.objective: row[self.study.objective]}, trial.number)
        self._end(trial, TrialState.COMPLETE, row[self.study.objective])

    def _end(self, trial: Trial, state: TrialState, value: float | None = None, failure: str = "") -> None:
        if failure:
            trial.set_user_attr(Fact.FAILURE, failure)
        self.study.store.tell(trial, value, state)
        self.shown(f"trial {trial.number} {self.study.status(self.study.trials[trial.number])}")


def measured(row: Row) -> dict[str, Any]:
    """Return the measurements of a validation among the values of a point of the curve."""
    return {name: row[name] for name in (LOSS, SCORE, ACCURACY, HALLUCINATION_RATE) if name in row}
