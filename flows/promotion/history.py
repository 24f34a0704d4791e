"""The decisions on versions, which are stored in their tags, and what follows from them. Reads and writes nothing.

Does not import MLflow, which takes seconds: `gradus status` reads the tags from its database.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.evaluation.question_sketch import QUESTIONS, are_same

PREFIX = "decision."
"""Prefix of the tags that hold the decisions on a version: the time follows."""
PROMOTED, FORCED, RESTORED, REFUSED, CLOSED = "promoted", "forced", "rolled back to", "refused", "gate closed"
"""The decisions; CLOSED is a refusal because the test questions had no opening left to decide."""
WEIGHTS = "weights_hash"
"""Tag of a version with the hash of its weights (`adapters.identity`)."""

Tags = Mapping[str, str]
Entry = dict[str, Any]
"""`decision`, `reason`, `QUESTIONS`, `numbers` (of the version), `champion` (its number and numbers),
`against_champion` (the verdict of pipelines/evaluation/gate.py) and `served` (the share of repeated verdicts).
"""


@dataclass(frozen=True)
class Openings:
    """How many candidates the test questions were asked of, and how many they may be (`compare.openings`)."""

    used: int
    allowed: int

    @property
    def closed(self) -> bool:
        """Whether they may decide on no further one."""
        return self.used >= self.allowed

    def __str__(self) -> str:
        asked = f"The test questions were asked of {self.used} of {self.allowed} candidates (compare.openings)"
        return f"{asked}: the next one needs new questions (docs/evaluation.md)." if self.closed else f"{asked}."


def entries(tags: Tags) -> list[tuple[str, Entry]]:
    """Return time and content of the decisions on a version, in order."""
    return [(tag, json.loads(tags[tag])) for tag in sorted(tags) if tag.startswith(PREFIX)]


def last(tags: Tags) -> Entry:
    """Return the last decision on a version; empty if there is none."""
    made = entries(tags)
    return made[-1][1] if made else {}


def weights(number: int, tags: Tags) -> str:
    """Return the hash of a version's weights; of one from before it was stored, a name in its place."""
    return tags.get(WEIGHTS, f"version {number}")


def candidates(versions: Mapping[int, Tags], opened: Iterable[str], questions: str) -> set[str]:
    """Return the weights of the candidates that the test questions with the sketch `questions` were asked of.

    These are those in `opened`, the tags `OPENING` of all runs of the stage `test`: their outcome could be read,
    whether they were promoted or not. And those that were decided on, since `gradus promote` may evaluate a version on
    new questions. The decoding, the scoring code and the accepted answers do not matter: another evaluation of the same
    questions is another look at them. A decision stored without its questions counts for those of the next decision.
    """
    found = {each["weights"] for each in map(json.loads, opened) if are_same(each[QUESTIONS], questions)}
    known = questions
    for number, entry in reversed(_in_order(versions)):
        known = entry.get(QUESTIONS) or known
        if entry["decision"] in (PROMOTED, REFUSED) and are_same(known, questions):
            found.add(weights(number, versions[number]))
    return found


def last_questions(versions: Mapping[int, Tags], opened: Sequence[str]) -> str | None:
    """Return the sketch of the last test questions in `opened`, or else in a decision.

    It is empty if no decision has one, and None if there is none.
    """
    if opened:
        return str(json.loads(opened[-1])[QUESTIONS])
    made = _in_order(versions)
    return next((entry[QUESTIONS] for _, entry in reversed(made) if entry.get(QUESTIONS)), "") if made else None


def champions(versions: Mapping[int, Tags]) -> list[int]:
    """Return the numbers of all champions, the present one last; a rollback drops those after its target."""
    found: list[int] = []
    for number, entry in _in_order(versions):
        if entry["decision"] == RESTORED and number in found:
            found = found[: found.index(number) + 1]
        elif entry["decision"] not in (REFUSED, CLOSED):
            found = [*(each for each in found if each != number), number]
    return found


def forced(tags: Tags) -> str:
    """Return the reason of a forced promotion; empty when the version was not forced."""
    promotions = [entry for _, entry in entries(tags) if entry["decision"] not in (REFUSED, CLOSED)]
    return str(promotions[-1]["reason"]) if promotions and promotions[-1]["decision"] == FORCED else ""


def _in_order(versions: Mapping[int, Tags]) -> list[tuple[int, Entry]]:
    """Return the version number and content of all decisions, the oldest first."""
    made = [(time, number, entry) for number, tags in versions.items() for time, entry in entries(tags)]
    return [(number, entry) for _, number, entry in sorted(made, key=lambda each: each[:2])]
