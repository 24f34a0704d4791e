"""Progress display of a run: a table with a progress bar on a terminal, log lines prefixed by the stage elsewhere.

Writes .gradus/running.json (flows/run/run_state.py), which `gradus status` reads. The time left is estimated from the
previous durations of the stages and from the progress that running stages report.
"""

import re
import threading
import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flows.run import run_state
from flows.run.run_state import RunState, StageState

STYLES = {
    "running": "cyan",
    "done": "green",
    "cached": "dim",
    "failed": "bold red",
    "stopped": "yellow",
    "waiting": "dim",
}
_EVERY = 2.0  # seconds between two writes of the state file
_ENDED = ("done", "cached", "failed", "stopped")
_LEFT = re.compile(r"\b\d+/\d+, (\d+) s left")  # format of pipelines/runtime/progress.py


class RunConsole:
    """The state of every stage, shown on the terminal or logged line by line, and written to a file."""

    def __init__(self, console: Console, stages: Iterable[str]) -> None:
        """Show `stages` on `console`, all of them waiting."""
        self.console = console
        self.states = dict.fromkeys(stages, StageState("waiting", "", None))
        self.before = run_state.durations()
        self.reported_left: dict[str, tuple[float, float]] = {}  # stage: seconds left, and time of the report
        self.began = self.written = time.time()
        self.lock = threading.RLock()
        self.width = max(map(len, self.states), default=0)
        self.live = (
            Live(get_renderable=self._table, console=console, refresh_per_second=4) if console.is_terminal else None
        )

    def __enter__(self) -> "RunConsole":
        """Start the display."""
        self._write()
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the final state and release the terminal."""
        run_state.clear()
        if self.live is not None:
            self.live.stop()

    def skipped(self, cached: Iterable[str]) -> None:
        """Exclude `cached` stages, which will not run, from the time left."""
        for stage in cached:
            self.before[stage] = 0.0

    def running(self, stage: str) -> None:
        """Report that `stage` has started."""
        self._set(stage, "running", "", time.time())
        self._log(stage, "started")

    def line(self, stage: str, text: str, stays: bool) -> None:
        """Show the last line that a running stage wrote; a line that does not stay is shown on terminals only."""
        if match := _LEFT.search(text):
            self.reported_left[stage] = float(match[1]), time.time()
        self._set(stage, "running", text, self.states[stage].began)
        if stays:
            self._log(stage, text)

    def ended(self, stage: str, state: str) -> None:
        """Report that `stage` is done, cached, failed or stopped; the reason of a failure is printed at the end."""
        began = self.states[stage].began
        seconds = None if began is None else time.time() - began
        took = "" if seconds is None else f"{seconds:.1f} s"
        with self.lock:
            if state == "done" and seconds is not None:
                self.before[stage] = seconds
                run_state.keep_duration(stage, seconds)
        self._set(stage, state, took, began)
        self._log(stage, " ".join(filter(None, (state, took))) + (f"   ({self.summary()})" if seconds else ""))

    def left(self) -> float | None:
        """Return the seconds left; None when a pending stage has neither a previous duration nor reported progress."""
        guesses = [self._left(stage, state) for stage, state in list(self.states.items()) if state.state not in _ENDED]
        known = [seconds for seconds in guesses if seconds is not None]
        return sum(known) if len(known) == len(guesses) else None

    def summary(self) -> str:
        """Return a summary such as `3 of 12 stages, about 25 min left`."""
        ended = sum(state.state in _ENDED for state in self.states.values())
        seconds = self.left()
        about = f", about {duration(seconds)} left" if seconds else ""
        return f"{ended} of {len(self.states)} stages{about}"

    def _left(self, stage: str, state: StageState) -> float | None:
        if state.state == "running" and stage in self.reported_left:
            seconds, when = self.reported_left[stage]
            return max(seconds - (time.time() - when), 0.0)
        if stage not in self.before:
            return None
        return max(self.before[stage] - (time.time() - state.began if state.began else 0.0), 0.0)

    def _set(self, stage: str, state: str, note: str, began: float | None) -> None:
        with self.lock:
            changed = self.states[stage].state != state
            self.states[stage] = StageState(state, note, began)
            if changed or time.time() - self.written > _EVERY:
                self._write()

    def _write(self) -> None:
        self.written = time.time()
        run_state.write(RunState(self.began, self.left(), dict(self.states)))

    def _log(self, stage: str, text: str) -> None:
        if self.live is None:
            self.console.print(Text(f"{stage:<{self.width}} | {text}"), soft_wrap=True)

    def _table(self) -> Group:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(width=self.width, no_wrap=True)
        table.add_column(width=8, no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for stage, state in list(self.states.items()):
            seconds = f"{time.time() - (state.began or 0):.0f} s  " if state.state == "running" else ""
            table.add_row(stage, Text(state.state, STYLES[state.state]), Text(seconds + state.note, "dim"))
        return Group(table, self._bar())

    def _bar(self) -> Table:
        spent, left = time.time() - self.began, self.left()
        ended = sum(state.state in _ENDED for state in self.states.values())
        share = ended / max(len(self.states), 1) if left is None else spent / max(spent + left, 1e-9)
        line = Table.grid(padding=(0, 2))
        line.add_row(ProgressBar(total=1.0, completed=share, width=30), Text(self.summary()))
        return line


def duration(seconds: float) -> str:
    """Format a duration as `50 s`, `12 min` or `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
