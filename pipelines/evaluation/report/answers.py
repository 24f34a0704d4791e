"""The answers that a comparison is about."""

from dataclasses import dataclass

from pipelines.artifacts import Row


@dataclass(frozen=True)
class Answers:
    """Rows of answers.jsonl by model; within a split, all models were asked the same questions in the same order."""

    validation: dict[str, list[Row]]
    """Of all evaluated models."""
    test: dict[str, list[Row]]
    """Of the baseline, the candidate and its parent."""
