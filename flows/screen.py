"""What the user sees of running stages: on a terminal a table, elsewhere lines that name their stage."""

import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

STYLES = {
    "running": "cyan",
    "done": "green",
    "cached": "dim",
    "failed": "bold red",
    "stopped": "yellow",
    "waiting": "dim",
}


class Screen:
    """The state of every stage, kept on the terminal or told line by line."""

    def __init__(self, console: Console, stages: Iterable[str]) -> None:
        """Show `stages` on `console`; all are waiting."""
        self.console = console
        self.states: dict[str, tuple[str, str]] = dict.fromkeys(stages, ("waiting", ""))
        self.started: dict[str, float] = {}
        self.width = max(map(len, self.states), default=0)
        self.live = (
            Live(get_renderable=self._table, console=console, refresh_per_second=4) if console.is_terminal else None
        )

    def __enter__(self) -> "Screen":
        """Start showing."""
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the last state and let go of the terminal."""
        if self.live is not None:
            self.live.stop()

    def running(self, stage: str) -> None:
        """Tell that `stage` has started."""
        self.started[stage] = time.monotonic()
        self._set(stage, "running", "")
        self._tell(stage, "started")

    def line(self, stage: str, text: str, stays: bool) -> None:
        """Tell the last line that a running stage wrote."""
        self._set(stage, "running", text)
        if stays:
            self._tell(stage, text)

    def ended(self, stage: str, state: str, why: str = "") -> None:
        """Tell that `stage` is done, cached, failed or stopped."""
        took = f"{time.monotonic() - self.started[stage]:.1f} s" if stage in self.started else ""
        self._set(stage, state, " ".join(filter(None, (took, why))))
        self._tell(stage, " ".join(filter(None, (state, took, why))))

    def _set(self, stage: str, state: str, note: str) -> None:
        self.states[stage] = (state, note)

    def _tell(self, stage: str, text: str) -> None:
        if self.live is None:
            self.console.print(Text(f"{stage:<{self.width}} | {text}"), soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(width=self.width, no_wrap=True)
        table.add_column(width=8, no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for stage, (state, note) in list(self.states.items()):
            seconds = f"{time.monotonic() - self.started[stage]:.0f} s  " if state == "running" else ""
            table.add_row(
                stage, Text(state, STYLES[state]), Text(seconds + note, "dim" if state != "failed" else "red")
            )
        return table
