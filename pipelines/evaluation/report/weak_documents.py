"""Documents whose questions a model answers worst. Reads and writes nothing."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from pipelines.artifacts import Row
from pipelines.evaluation.questions import ANSWERABLE
from pipelines.evaluation.scoring import VERDICTS

SHOWN = 10
MIN_QUESTIONS = 3
"""Fewer questions say little about a document."""


def weak_documents(rows: Iterable[Row]) -> list[Row]:
    """Return the ten documents with the lowest accuracy, those with more questions first among equals.

    `rows` are those of answers.jsonl. Each document has its `document`, number of answerable `questions`, and how many
    answers are `correct`, `refused` and `wrong`.
    """
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row["set"] == ANSWERABLE:
            found[row["cluster"]][row["verdict"]] += 1
    asked = {name: counts for name, counts in sorted(found.items()) if counts.total() >= MIN_QUESTIONS}
    worst = sorted(asked, key=lambda name: (asked[name]["correct"] / asked[name].total(), -asked[name].total()))
    return [
        {"document": name, "questions": asked[name].total(), **{each: asked[name][each] for each in VERDICTS}}
        for name in worst[:SHOWN]
    ]
