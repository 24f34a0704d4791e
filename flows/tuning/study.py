"""The study: which values are tried next, which trials end early, and what is known of all trials (Optuna).

Values are proposed by a tree-structured Parzen estimator (TPE, Bergstra et al. 2011), after `RANDOM` random ones; the
first trial has the present parameters. Trials are compared at rungs, validations 2, 4 and 8 of ten, and of those that
reached a rung only the better half goes on (asynchronous successive halving, Li et al. 2020, arXiv:1810.05934). A rung
is a share of a trial's own training, so that all are compared at the same place of their learning rate schedule.

The state is in .gradus/tune/studies.db. A trial that did not end is unfinished, and goes on first.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from flows.tuning.ranges import Range
from pipelines.evaluation.in_training.sample import LOSS, SCORE

FOLDER = Path(".gradus/tune")
FIRST_RUNG, REDUCTION = 2, 2
"""The validation at which trials are first compared, and the factor by which their number falls at every rung."""
RANDOM = 5

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Fact(StrEnum):
    """What is stored of a trial beside its values and measurements."""

    EPOCHS = "epochs"
    """Planned epochs."""
    SECONDS = "seconds"
    """Seconds up to the last validation."""
    RUNG_SECONDS = "rung_seconds"
    """Seconds up to the first rung."""
    SHARE = "share"
    """Share of the training that is done."""
    MEASURED = "measured"
    """The measurements of the last validation, at the end of the one that counts."""
    FAILURE = "failure"
    """Why it failed."""


class Study:
    """The trials of one search; equal inputs, parameters and ranges continue the same study."""

    def __init__(
        self, stage: str, key: str, ranges: Sequence[Range], present: Mapping[str, Any], *, by_score: bool, seed: int
    ) -> None:
        """Open the study of `stage` with the stage key `key`; `present` are the values of params.yaml by key.

        The objective is the validation score, or else the validation loss.
        """
        searched = hashlib.sha256(" ".join(map(str, ranges)).encode()).hexdigest()
        self.ranges, self.seed, self.objective = ranges, seed, SCORE if by_score else LOSS
        self.folder = FOLDER / f"{stage}-{key[:12]}-{searched[:8]}"
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.store = optuna.create_study(
            storage=f"sqlite:///{FOLDER}/studies.db",
            study_name=self.folder.name,
            direction=StudyDirection.MAXIMIZE if by_score else StudyDirection.MINIMIZE,
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=FIRST_RUNG, reduction_factor=REDUCTION),
            load_if_exists=True,
        )
        if not self.store.get_trials(deepcopy=False) and all(present[each.key] in each for each in ranges):
            self.store.enqueue_trial(dict(present))

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials that have values, by number."""
        return [each for each in self.store.get_trials(deepcopy=False) if each.state != TrialState.WAITING]

    def next(self) -> Trial:
        """Return the first unfinished trial, or else a new one.

        The sampler is seeded by the number of the trial, so that a continued search does not propose the values of its
        first trials again.
        """
        unfinished = [each for each in self.trials if each.state == TrialState.RUNNING]
        number = unfinished[0].number if unfinished else len(self.trials)
        self.store.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM, seed=self.seed + number)
        trial = Trial(self.store, unfinished[0]._trial_id) if unfinished else self.store.ask()
        for each in self.ranges:
            each.suggest(trial)
        return trial

    def values(self, trial: Trial | FrozenTrial) -> dict[str, float]:
        """Return the values of a trial by key, with which it is trained."""
        return {each.key: each.rounded(trial.params[each.key]) for each in self.ranges}

    def report(
        self, trial: Trial, values: Sequence[float], seconds: float, share: float, measured: Mapping[str, Any]
    ) -> bool:
        """Store the objective at all validations, and facts about the last; return whether the trial is to end."""
        known = self.trials[trial.number]
        facts = {Fact.SECONDS: seconds, Fact.SHARE: share, Fact.MEASURED: dict(measured)}
        if len(values) >= FIRST_RUNG and Fact.RUNG_SECONDS not in known.user_attrs:
            facts[Fact.RUNG_SECONDS] = seconds
        for name, fact in facts.items():
            trial.set_user_attr(name, fact)
        for number, value in enumerate(values, 1):
            if number not in known.intermediate_values:
                trial.report(value, number)
                if trial.should_prune():
                    return True
        return False

    def best(self) -> FrozenTrial | None:
        """Return the best complete trial, of equal scores that with the lowest loss; None if there is none."""
        complete = [each for each in self.trials if each.state == TrialState.COMPLETE]
        return min(complete, key=lambda each: _rank(each.user_attrs[Fact.MEASURED]), default=None)

    def failures(self) -> list[str]:
        """Return why the last trials failed, those after the last that did not."""
        reasons: list[str] = []
        for each in self.trials:
            reasons = [*reasons, str(each.user_attrs[Fact.FAILURE])] if each.state == TrialState.FAIL else []
        return reasons

    def first_rung(self, trial: Trial, epochs: int, usual: float | None) -> float:
        """Return the expected seconds up to the first rung of a trial of `epochs`; 0 if unknown, or if it was reached.

        The slowest of the other trials counts, for more epochs than it had in proportion. Before one reached its rung,
        `usual` counts, if known.
        """
        known = [each.user_attrs for each in self.trials if Fact.RUNG_SECONDS in each.user_attrs]
        if Fact.RUNG_SECONDS in trial.user_attrs:
            return 0.0
        seconds = [facts[Fact.RUNG_SECONDS] * max(1.0, epochs / facts[Fact.EPOCHS]) for facts in known]
        return max(seconds, default=usual or 0.0)

    def remove_leftovers(self) -> None:
        """Remove the folders of trials that have ended, and of other studies, whose data or parameters have changed."""
        unfinished = {str(each.number) for each in self.trials if not each.state.is_finished()}
        for folder in FOLDER.glob("*/*/"):
            if folder.parent != self.folder or folder.name not in unfinished:
                shutil.rmtree(folder)

    def status(self, trial: FrozenTrial) -> str:
        """Return how a trial ended, or how far it is."""
        share = trial.user_attrs.get(Fact.SHARE)
        if trial.state == TrialState.PRUNED:
            return f"pruned at {share:.0%}"
        if trial.state == TrialState.FAIL:
            return f"failed: {trial.user_attrs[Fact.FAILURE]}"
        if trial.state == TrialState.COMPLETE:
            return "done"
        return "not started" if Fact.EPOCHS not in trial.user_attrs else f"unfinished at {share or 0:.0%}"


def _rank(measured: Mapping[str, float]) -> tuple[float, float]:
    """Return the order of trials by what was measured, the best first."""
    return -measured.get(SCORE, 0.0), measured.get(LOSS, 0.0)
