"""Progress that a person and a log can both read.

On a terminal a bar; elsewhere a line for each per cent or each half minute, whichever is rarer. A flow that follows the
program is told every two seconds, by lines that end in a carriage return: it shows them and keeps none.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")

_ENOUGH = 0.02  # of the work, to guess by how long the rest will take
_EVERY = 2.0  # seconds between two lines that are shown and not kept
_KEPT_EVERY = 30.0  # seconds between two lines where there is no terminal, at least
_KEPT_SHARE = 0.01  # of the work between two such lines, at least

FOLLOWED = "GRADUS_FOLLOWED"
"""Tells a program that a flow reads its lines as they come. It changes no result."""


class Meter:
    """Counts towards a total and tells how far it is."""

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        """Start at `done` of `total`; `what` names the work in a word or two."""
        self.what, self.total, self.done, self.begun = what, total, done, done
        self.started = self.told = self.kept = time.monotonic()
        self.kept_at = done
        self.followed = followed()
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
        if now - self.kept >= _KEPT_EVERY and self.done - self.kept_at >= _KEPT_SHARE * self.total:
            self.kept, self.kept_at, self.told = now, self.done, now
            say(self._line(now, note))
        elif self.followed and now - self.told >= _EVERY:
            self.told = now
            print(self._line(now, note), end="\r", file=sys.stderr, flush=True)

    def _line(self, now: float, note: str) -> str:
        left = (now - self.started) / max(self.done - self.begun, 1) * max(self.total - self.done, 0)
        guess = f", {left:.0f} s left" if self.done - self.begun >= _ENOUGH * self.total else ""
        return f"{self.what} {self.done}/{self.total}{guess}{', ' + note if note else ''}"

    def close(self) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.stop()


def followed() -> bool:
    """Tell whether a flow reads what this program says."""
    return FOLLOWED in os.environ


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
