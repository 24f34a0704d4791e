"""What a search shows: its trials as a table, the end of its time, and the best trial as a recipe."""

import time
from datetime import datetime
from pathlib import Path
from types import TracebackType

from optuna.trial import FrozenTrial
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flows.run import overrides
from flows.run.console import duration
from flows.tuning.arguments import ORIGIN
from flows.tuning.ranges import nested
from flows.tuning.search import Progress
from flows.tuning.study import Fact, Study
from pipelines.evaluation.in_training.sample import ACCURACY, HALLUCINATION_RATE, LOSS, SCORE

COLUMNS = {SCORE: "score", ACCURACY: "accuracy", HALLUCINATION_RATE: "hallucination rate", LOSS: "validation loss"}


class Display:
    """The trials as a table on a terminal, one line per event elsewhere."""

    def __init__(self, console: Console, study: Study, progress: Progress) -> None:
        """Show `study` on `console`."""
        self.console, self.study, self.progress = console, study, progress
        self.live = (
            Live(get_renderable=self._view, console=console, refresh_per_second=1) if console.is_terminal else None
        )

    def __enter__(self) -> "Display":
        """Start the display."""
        self.event(until(self.progress))
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the terminal; elsewhere, print the table."""
        if self.live is not None:
            self.live.stop()
        else:
            self.console.print(table(self.study, self.progress))

    def event(self, line: str) -> None:
        """Print a line, unless the table shows it."""
        if self.live is None:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _view(self) -> Group:
        return Group(table(self.study, self.progress), Text(until(self.progress), "dim"))


def until(progress: Progress) -> str:
    """Return when the search ends."""
    left = max(progress.deadline - time.monotonic(), 0.0)
    return f"The search ends at {datetime.fromtimestamp(time.time() + left):%H:%M}, in {duration(left)}, at the latest."


def table(study: Study, progress: Progress) -> Table:
    """Return the values, state and measurements of all trials; the best is bold."""
    shown = {name: title for name, title in COLUMNS.items() if study.objective == SCORE or name == LOSS}
    keys = [each.key for each in study.ranges]
    listing = Table("trial", *keys, "state", *shown.values(), "time", box=None, header_style="bold")
    best = study.best()
    for trial in study.trials:
        running = trial.number == progress.number
        state = f"running, {progress.share:.0%}" if running else study.status(trial)
        measured = trial.user_attrs.get(Fact.MEASURED, {})
        values = [f"{value:g}" for value in study.values(trial).values()]
        figures = [figure(name, measured[name]) if name in measured else "" for name in shown]
        spent = duration(trial.user_attrs[Fact.SECONDS]) if Fact.SECONDS in trial.user_attrs else ""
        style = "bold" if best is not None and trial.number == best.number else ""
        listing.add_row(str(trial.number), *values, Text(state), *figures, spent, style=style)
    return listing


def figure(name: str, value: float) -> str:
    """Format a measurement."""
    return f"{100 * value:.1f}%" if name in (ACCURACY, HALLUCINATION_RATE) else f"{value:.3f}"


def described(measured: dict[str, float]) -> str:
    """Return measurements as `score 0.210, accuracy 48.0%`."""
    return ", ".join(f"{title} {figure(name, measured[name])}" for name, title in COLUMNS.items() if name in measured)


def title(study: Study, stage: str) -> str:
    """Return the name of the search's MLflow run."""
    best = study.best()
    found = "none finished" if best is None else f"best {figure(study.objective, best.value or 0.0)}"
    return f"tune {stage} · {len(study.trials)} trials · {found}"


def markdown(study: Study) -> str:
    """Return the trials as a Markdown table."""
    keys = [each.key for each in study.ranges]
    rows = [["trial", *keys, "state", COLUMNS[study.objective]], ["---"] * (len(keys) + 3)]
    for trial in study.trials:
        measured = trial.user_attrs.get(Fact.MEASURED, {})
        value = figure(study.objective, measured[study.objective]) if measured else ""
        values = [f"{value:g}" for value in study.values(trial).values()]
        rows.append([str(trial.number), *values, study.status(trial), value])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def recipe(study: Study, best: FrozenTrial, stage: str) -> str:
    """Return the values of the best trial as a recipe for `gradus use`."""
    head = (
        f"# {stage}, {ORIGIN} {stage}`: trial {best.number} of {len(study.trials)}.\n"
        f"# Validation: {described(best.user_attrs[Fact.MEASURED])}\n"
    )
    return f"{head}\n{overrides.written(nested(study.values(best)))}"


def conclude(console: Console, study: Study, stage: str, to: Path) -> None:
    """Write the best trial as the recipe `to`, and print how to use it."""
    best = study.best()
    if best is None:
        console.print("No trial has finished, so there is no recipe; the same command continues.", highlight=False)
        return
    to.write_text(recipe(study, best, stage), encoding="utf-8")
    lines = [f"Trial {best.number} is the best of {len(study.trials)}: {described(best.user_attrs[Fact.MEASURED])}."]
    lines.append(f"{to} has its parameters: `gradus use {to} && gradus run` trains with them.")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
