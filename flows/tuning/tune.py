"""Search the hyper-parameters of a training within a budget of minutes. Standalone: gradus tune sft --minutes 30

Reads the data that the stage trains on, which must be up to date, and changes none of it; writes the best trial as a
recipe. In MLflow, the search is a run `tune` with a child run per trial.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console

from flows import preflight
from flows.dag import dvc_lock, git_state, graph, staleness
from flows.dag.graph import Stage
from flows.run import ended_runs, overrides, run_state
from flows.run.process import end_orphans
from flows.tuning import report
from flows.tuning.ranges import space, value_of
from flows.tuning.search import Progress, Search
from flows.tuning.study import FIRST_RUNG, Study
from pipelines import artifacts
from pipelines.config import Config
from pipelines.runtime import liveness, tracking
from pipelines.runtime.errors import UserError
from pipelines.training.config import VALIDATIONS
from pipelines.user_files import read_text

RUN = "run_id"
"""The attribute of a study with its MLflow run, which a continued search goes on with."""


def tune(console: Console, name: str, minutes: float, searches: Sequence[str], most: int | None, to: Path) -> None:
    """Search for `minutes`, or until `most` trials have ended; write the best one to the recipe `to`.

    Raises:
        UserError: a range is invalid, its data is missing or outdated, the time does not
            suffice for the first rung of a trial, or several trials in a row failed.
    """
    deadline = time.monotonic() + 60 * minutes
    settings = preflight.check()
    with liveness.exclusive("tune"), liveness.exclusive("post_train"):  # no run may replace the data
        _recover()
        stages = graph.read().towards([name])
        stage = next(each for each in stages if each.name == name)
        _check_data(stages, stage, settings)
        inputs, text = dvc_lock.prove(name), read_text(overrides.PARAMS)
        ranges = space(searches, text, inputs.parameters)
        usual = _usual(name, minutes)
        values = yaml.safe_load(text)
        present = {each.key: value_of(values, each.key) for each in ranges}
        by_score = settings.sft.validation_questions > 0
        study = Study(name, inputs.key, ranges, present, by_score=by_score, seed=settings.compute.seed)
        study.remove_leftovers()
        progress = Progress(deadline)
        with (
            tracking.started("tune", {**git_state.tags(), "flow": "tune"}, study.store.user_attrs.get(RUN)) as parent,
            report.Display(console, study, progress) as display,
        ):
            study.store.set_user_attr(RUN, parent.id)
            parent.params({"stage": name, **{each.key: f"{each.low:g}:{each.high:g}" for each in ranges}})
            search = Search(name, study, text, tuple(inputs.data), parent, usual, progress, display.event)
            reason = search.run(most)
            parent.page(report.title(study, name), report.markdown(study))
        console.print(reason, markup=False, highlight=False, soft_wrap=True)
        report.conclude(console, study, name, to)


def _recover() -> None:
    """End the trial and the MLflow runs that a killed search left behind."""
    end_orphans()
    ended_runs.end_stale_runs()
    liveness.remove_stale()


def _check_data(stages: graph.Graph, stage: Stage, settings: Config) -> None:
    """Check that the data exists and is that of a run, and that trials can be compared on it.

    Raises:
        UserError: it does not, or is not.
    """
    for parent in stage.parents:
        artifacts.read(parent)
    outdated = {each: why for each, why in staleness.changes(stages).items() if each != stage.name}
    if outdated:
        first, why = next(iter(outdated.items()))
        raise UserError(
            f"{first} is out of date ({why}), so that a search would not use the data that a run trains on; run "
            f"`gradus run {' '.join(stage.parents)}` first."
        )
    validation = artifacts.ARTIFACTS / "curate/validation.jsonl"
    if not settings.sft.validation_questions and not artifacts.read_rows(validation):
        raise UserError(
            f"{validation} has no row, so that trials cannot be compared; set sft.validation_questions, or raise "
            "curate.validation_share, and run `gradus run curate`."
        )


def _usual(name: str, minutes: float) -> float | None:
    """Return the seconds up to the first rung of a trial, estimated from the last run of the stage, if there was one.

    Raises:
        UserError: `minutes` do not suffice for it.
    """
    whole = run_state.durations().get(name)
    needed = None if whole is None else whole * FIRST_RUNG / VALIDATIONS
    if minutes <= 0 or (needed is not None and needed > 60 * minutes):
        took = (
            "" if whole is None or needed is None else f" ({name} took {whole:.0f} s, its first fifth {needed:.0f} s)"
        )
        raise UserError(f"--minutes {minutes:g} does not suffice for the first rung of one trial{took}; give more.")
    return needed
