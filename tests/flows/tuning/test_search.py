"""Trials of a search: pruned, stopped at the limit and continued, failed; with a program that only measures."""

import re
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from flows.run import overrides
from flows.tuning import study as studies
from flows.tuning.ranges import space
from flows.tuning.search import Progress, Search
from flows.tuning.study import Fact, Study
from pipelines.config import Config
from pipelines.evaluation.in_training.sample import LOSS, SCORE
from pipelines.runtime.errors import UserError
from pipelines.runtime.tracking import started
from tests.support.tunable import PROGRAM

pytestmark = pytest.mark.slow

RATE = "sft.learning_rate=1e-5:1e-1:log"


class Searcher:
    """Searches in the project folder, each as a command of its own would."""

    def __init__(self, folder: Path) -> None:
        (folder / "tasks/__init__.py").touch()
        (folder / "tasks/sft.py").write_text(PROGRAM)
        (folder / "data/stable/sft").mkdir(parents=True)
        self.folder, self.lines = folder, list[str]()

    def study(self, *searches: str) -> Study:
        """Open the study of the present parameters."""
        ranges = space([*searches], (self.folder / "params.yaml").read_text(), ["sft"])
        present = {each.key: 0.001 for each in ranges}
        return Study("sft", "key", ranges, present, by_score=True, seed=1)

    def run(self, most: int, *searches: str, until: str | None = None) -> tuple[Study, str]:
        """Search for five minutes, or until a line contains `until`; return the study and why the search ended."""
        study, progress = self.study(*(searches or (RATE,))), Progress(time.monotonic() + 300)

        def shown(line: str) -> None:
            self.lines.append(line)
            if found := re.match(r"trial \d+: (\d+)0%", line):
                self.see(found[1])
            if until is not None and until in line:
                progress.deadline = time.monotonic()

        with started("tune", {}) as parent:
            text, inputs = (self.folder / "params.yaml").read_text(), ("data/stable/sft",)
            return study, Search("sft", study, text, inputs, parent, None, progress, shown).run(most)

    def see(self, number: str) -> None:
        """Let the trial go on after its validation `number`."""
        (self.folder / "seen.part").write_text(number)
        (self.folder / "seen.part").rename(self.folder / "seen.txt")

    def waits(self, on: bool) -> None:
        """Let every trial wait after each validation until the search has seen it."""
        watched = self.folder / "watched"
        watched.touch() if on else watched.unlink()


@pytest.fixture
def searcher(config: Config, project: Path) -> Searcher:
    return Searcher(project)


@pytest.mark.e2e
def test_worse_trials_are_pruned_and_the_best_wins(searcher: Searcher) -> None:
    searcher.waits(True)
    study, reason = searcher.run(5)
    assert reason == "All 5 trials have ended."
    trials = study.trials
    assert study.values(trials[0]) == {"sft.learning_rate": 0.001} and trials[0].value == pytest.approx(1.0)
    assert study.best() == trials[0] and trials[0].user_attrs[Fact.SHARE] == 1.0
    assert {each.state for each in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    for each in trials:
        assert (len(each.intermediate_values) == 10) == (each.state == TrialState.COMPLETE)
        assert max(each.intermediate_values) >= studies.FIRST_RUNG
    assert len({each.params["sft.learning_rate"] for each in trials}) == 5
    assert not list(study.folder.iterdir())  # weights and checkpoints are gone
    assert "trial 0: 100%, validation/score 1.000" in searcher.lines and "trial 0 done" in searcher.lines


@pytest.mark.e2e
def test_running_trial_is_stopped_at_the_limit_and_continued(searcher: Searcher) -> None:
    searcher.waits(True)
    study, reason = searcher.run(2, until="trial 0: 20%")
    assert reason == "The time is over; 2 of 2 trials have not ended."
    (trial,) = study.trials
    done = len(trial.intermediate_values)
    assert trial.state == TrialState.RUNNING and 2 <= done < 10 and study.best() is None
    assert study.status(trial) == f"unfinished at {done}0%"
    searcher.waits(False)
    study, _ = searcher.run(1)
    (trial,) = study.trials
    assert trial.state == TrialState.COMPLETE and len(trial.intermediate_values) == 10
    values = (searcher.folder / "begun.txt").read_text().split()
    assert values[0] == "0" and int(values[1]) >= done  # it went on from what it had kept


def test_trial_that_cannot_reach_its_first_rung_is_not_started(searcher: Searcher) -> None:
    study = searcher.study(RATE)
    slow = study.next()
    slow.set_user_attr(Fact.EPOCHS, 6)
    study.report(slow, [0.1, 0.2], 1000.0, 0.2, {SCORE: 0.2})
    study.store.tell(slow, 0.5)
    study, reason = searcher.run(5)
    assert "was not started: its first rung takes about 1000 s" in reason
    assert reason.startswith("Trial 1 (sft.learning_rate=")
    assert study.status(study.trials[1]) == "not started" and not study.folder.exists()
    values = study.values(study.trials[1])
    assert study.values(searcher.study(RATE).next()) == values  # it is the first of the next search


def test_trial_counts_by_the_validation_whose_weights_early_stopping_kept(searcher: Searcher) -> None:
    path = searcher.folder / "params.yaml"
    path.write_text(overrides.changed(path.read_text(), ["training.patience=3"]))
    study, _ = searcher.run(1)
    assert study.trials[0].value == pytest.approx(0.5)


def test_without_questions_the_lowest_loss_wins_and_of_equal_scores_too(searcher: Searcher) -> None:
    def ended(study: Study, *measured: dict[str, float]) -> int:
        for each in measured:
            trial = study.next()
            trial.set_user_attr(Fact.MEASURED, each)
            study.store.tell(trial, each[study.objective])
        best = study.best()
        assert best is not None
        return best.number

    ranges = space([RATE], (searcher.folder / "params.yaml").read_text(), ["sft"])
    by_loss, by_score = (
        Study("sft", str(scored), ranges, {ranges[0].key: 0.001}, by_score=scored, seed=1) for scored in (False, True)
    )
    assert by_loss.best() is None
    assert ended(by_loss, {LOSS: 2.0}, {LOSS: 1.0}, {LOSS: 3.0}) == 1
    equal = {SCORE: 0.5, LOSS: 2.0}, {SCORE: 0.5, LOSS: 1.0}, {SCORE: 0.1, LOSS: 0.5}
    assert ended(by_score, *equal) == 1


def test_failed_trials_end_the_search(searcher: Searcher) -> None:
    with pytest.raises(UserError, match=r"3 trials in a row failed, the last of them: The loss became nan\."):
        searcher.run(9, RATE, "sft.rehearsal_weight=6:8")
    study = searcher.study(RATE, "sft.rehearsal_weight=6:8")
    assert [each.state for each in study.trials] == [TrialState.FAIL] * 3
    assert study.status(study.trials[0]) == "failed: The loss became nan."


def test_more_epochs_are_expected_to_take_longer(searcher: Searcher) -> None:
    study = searcher.study(RATE)
    trial = study.next()
    assert study.first_rung(trial, 6, None) == 0.0 and study.first_rung(trial, 6, 30.0) == 30.0
    trial.set_user_attr(Fact.EPOCHS, 6)
    study.report(trial, [0.1, 0.2], 20.0, 0.2, {SCORE: 0.2})
    study.store.tell(trial, 0.5)
    other = study.next()
    assert (study.first_rung(other, 12, 30.0), study.first_rung(other, 3, 30.0)) == (40.0, 20.0)
