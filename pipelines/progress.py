"""Progress that a person and a log can both read.

On a terminal a bar; elsewhere a line at most every two seconds, which the flow shows beside the stage's name.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")

_ENOUGH = 0.02  # of the work, to guess by how long the rest will take
_EVERY = 2.0  # seconds between two lines where there is no terminal


class Meter:
    """Counts towards a total and tells how far it is."""

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        """Start at `done` of `total`; `what` names the work in a word or two."""
        self.what, self.total, self.done, self.begun = what, total, done, done
        self.started = self.told = time.monotonic()
        self.bar: Progress | None = None
        if sys.stderr.isatty():
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
        """Move `count` forward; `note` is shown beside the count."""
        self.done += count
        if self.bar is not None:
            self.bar.update(self.task, advance=count, note=note)
            return
        now = time.monotonic()
        if now - self.told >= _EVERY:
            self.told = now
            left = (now - self.started) / max(self.done - self.begun, 1) * max(self.total - self.done, 0)
            guess = f", {left:.0f} s left" if self.done - self.begun >= _ENOUGH * self.total else ""
            say(f"{self.what} {self.done}/{self.total}{guess}{', ' + note if note else ''}")

    def close(self) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.stop()


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield `items`, showing progress towards `total`."""
    meter = Meter(what, total)
    try:
        for item in items:
            yield item
            meter.step()
    finally:
        meter.close()


def say(line: str) -> None:
    """Tell the user one line."""
    print(line, file=sys.stderr, flush=True)
