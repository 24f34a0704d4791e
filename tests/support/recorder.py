"""A run without an MLflow store, which records its curves."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.runtime.tracking import Run


class Recorder(Run):
    """Keeps the tags, the values of every point of the curves, and the rows of tables."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.tagged: dict[str, str] = {}
        self.rows: list[dict[str, Any]] = []
        self.logged: dict[str, int] = {}

    def tags(self, values: Mapping[str, str]) -> None:
        """Keep the tags."""
        self.tagged.update(values)

    def curve(self, values: Mapping[str, float], step: int) -> None:
        """Keep the values of a point."""
        self.steps.append(dict(values))

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Keep the rows of a table."""
        self.rows += [{column: row[column] for column in columns} for row in rows]

    def of(self, key: str) -> list[float]:
        """Return the curve `key`."""
        return [values[key] for values in self.steps if key in values]
