"""The curve of a training: what it measured at which step, kept beside its checkpoints, so that none is lost with it.

What went on after an interruption measures some steps again; the last measurement of a step counts.
"""

from collections.abc import Mapping
from pathlib import Path

from pipelines import artifacts
from pipelines.artifacts import Row


class Curve:
    """The rows of a curve, by step."""

    def __init__(self, kept: Path | None) -> None:
        """Go on with what `kept` holds; None keeps the rows in memory alone."""
        self.kept = kept
        self.rows: dict[int, Row] = {}
        if kept is not None and kept.exists():
            self.rows = {row["step"]: row for row in artifacts.each_row(kept)}

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Add what was measured at `step`."""
        self.rows[step] = {"step": step, **values}
        if self.kept is not None:
            artifacts.add_rows(self.kept, [self.rows[step]])

    def write(self, path: Path) -> None:
        """Write the curve as CSV, in the order of steps."""
        artifacts.write_csv(path, [self.rows[step] for step in sorted(self.rows)])
