"""The training curve: metrics by step, stored next to the checkpoints, so that an interruption loses none.

A resumed training repeats some steps; the last measurement of a step counts.
"""

from collections.abc import Mapping
from pathlib import Path

from pipelines import artifacts
from pipelines.artifacts import Row


class Curve:
    """The rows of a curve, by step."""

    def __init__(self, kept: Path | None) -> None:
        """Resume from the file `kept`; None keeps the rows in memory only."""
        self.kept = kept
        self.rows: dict[int, Row] = {}
        if kept is not None and kept.exists():
            self.rows = {row["step"]: row for row in artifacts.each_row(kept)}

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Add the metrics of a step."""
        self.rows[step] = {"step": step, **values}
        if self.kept is not None:
            artifacts.add_rows(self.kept, [self.rows[step]])

    def write(self, path: Path) -> None:
        """Write the curve as CSV, ordered by step."""
        artifacts.write_csv(path, [self.rows[step] for step in sorted(self.rows)])
