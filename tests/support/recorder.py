"""A run without an MLflow store, which records its curves."""

from collections.abc import Mapping

from pipelines.runtime.tracking import Run


class Recorder(Run):
    """Keeps the tags, and the values of every point of the curves."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.tagged: dict[str, str] = {}

    def tags(self, values: Mapping[str, str]) -> None:
        """Keep the tags."""
        self.tagged.update(values)

    def curve(self, values: Mapping[str, float], step: int) -> None:
        """Keep the values of a point."""
        self.steps.append(dict(values))

    def of(self, key: str) -> list[float]:
        """Return the curve `key`."""
        return [values[key] for values in self.steps if key in values]
