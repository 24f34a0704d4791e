"""A sketch of the test questions, from which the overlap of two splits is estimated. Reads and writes nothing.

A bottom-k sketch (Broder 1997) instead of one hash: a hash forgets all decisions when one question is corrected, added
or removed, although the test questions are still those that decided.
"""

import json
from collections.abc import Iterable
from hashlib import sha256

from pipelines.artifacts import Row
from pipelines.evaluation.questions import GENERAL

SIZE = 64
"""Hashes kept: the standard error of the estimated overlap is 0.06; with fewer questions it is exact."""
MIN_OVERLAP = 1 / 3
"""Jaccard similarity from which two splits count as the same: half of the questions of two equally large ones."""


OPENING = "opening"
"""Tag of an MLflow run of the stage `test`: whose weights were asked which test questions (`opening`)."""
QUESTIONS = "test_questions"
"""Key, and tag of a version, with a sketch of test questions."""


def opening(weights: str, rows: Iterable[Row]) -> dict[str, str]:
    """Return the tag of a run in which the model with the hash `weights` gave the answers `rows`."""
    return {OPENING: json.dumps({"weights": weights, QUESTIONS: sketch(rows)})}


def sketch(rows: Iterable[Row]) -> str:
    """Return the `SIZE` smallest hashes of the questions about the documents, ignoring case and white space.

    `rows` are those of answers.jsonl. Neither ids nor accepted answers count: with other ones, the same questions would
    decide again. General questions are left out: they are many, and the same for all documents.
    """
    asked = (row["question"] for row in rows if row["set"] != GENERAL)
    hashes = {sha256(" ".join(each.casefold().split()).encode()).hexdigest()[:8] for each in asked}
    return " ".join(sorted(hashes)[:SIZE])


def are_same(one: str, other: str) -> bool:
    """Return whether two sketches are of mostly the same questions."""
    these, those = set(one.split()), set(other.split())
    smallest = sorted(these | those)[:SIZE]
    return sum(each in these and each in those for each in smallest) >= MIN_OVERLAP * len(smallest)
