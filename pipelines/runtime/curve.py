"""The training curve: metrics by step, stored next to the checkpoints, so that an interruption loses none.

A resumed training repeats some steps; the last measurement of a metric at a step counts.
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
            for row in artifacts.each_row(kept):
                self._merge(row)

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Add metrics of a step, such as the validation loss after those of training."""
        row = {"step": step, **values}
        self._merge(row)
        if self.kept is not None:
            artifacts.add_rows(self.kept, [row])

    def _merge(self, row: Row) -> None:
        self.rows[row["step"]] = {**self.rows.get(row["step"], {}), **row}

    def write(self, path: Path) -> None:
        """Write the curve as CSV, ordered by step."""
        artifacts.write_csv(path, [self.rows[step] for step in sorted(self.rows)])
