"""Progress reports for terminals and logs.

On a terminal, a progress bar; elsewhere, one line per percent or per 30 seconds, whichever is rarer. For a flow that
follows the program, a line that ends in a carriage return is written every two seconds; it is shown but not logged.
Of several processes of one stage, only rank 0 reports.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.runtime import environment

T = TypeVar("T")

_ENOUGH = 0.02  # fraction of the work done, from which the remaining time is estimated
_EVERY = 2.0  # seconds between transient lines
_KEPT_EVERY = 30.0  # minimum seconds between logged lines
_KEPT_SHARE = 0.01  # minimum fraction of the work between logged lines

FOLLOWED = "GRADUS_FOLLOWED"
"""Environment variable that is set when a flow reads the program's output live. It does not affect results."""


class Meter:
    """Counts towards a total and reports progress."""

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        """Start at `done` of `total`; `what` is a short name of the work."""
        self.what, self.total, self.done, self.begun = what, total, done, done
        self.started = self.reported = self.kept = time.monotonic()
        self.kept_at = done
        self.followed = followed()
        self.bar: Progress | None = None
        if sys.stderr.isatty() and not environment.rank():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self.bar = Progress(
                *columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), transient=True
            )
            self.task = self.bar.add_task(what, total=total, completed=done, note="")
            self.bar.start()

    def step(self, count: int = 1, note: str = "") -> None:
        """Advance by `count`; `note` is shown next to the count."""
        self.done += count
        if self.bar is not None:
            self.bar.update(self.task, advance=count, note=note)
            return
        now = time.monotonic()
        if now - self.kept >= _KEPT_EVERY and self.done - self.kept_at >= _KEPT_SHARE * self.total:
            self.kept, self.kept_at, self.reported = now, self.done, now
            say(self._line(now, note))
        elif self.followed and now - self.reported >= _EVERY:
            self.reported = now
            print(self._line(now, note), end="\r", file=sys.stderr, flush=True)

    def _line(self, now: float, note: str) -> str:
        left = (now - self.started) / max(self.done - self.begun, 1) * max(self.total - self.done, 0)
        guess = f", {left:.0f} s left" if self.done - self.begun >= _ENOUGH * self.total else ""
        return f"{self.what} {self.done}/{self.total}{guess}{', ' + note if note else ''}"

    def close(self) -> None:
        """Stop the progress bar."""
        if self.bar is not None:
            self.bar.stop()


def followed() -> bool:
    """Return whether a flow reads this program's output live."""
    return FOLLOWED in os.environ and not environment.rank()


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield `items` while reporting progress towards `total`."""
    meter = Meter(what, total)
    try:
        for item in items:
            yield item
            meter.step()
    finally:
        meter.close()


def say(line: str) -> None:
    """Print one line to stderr."""
    if not environment.rank():
        print(line, file=sys.stderr, flush=True)
