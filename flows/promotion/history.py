"""The decisions on versions, which are stored in their tags, and what follows from them. Reads and writes nothing.

Does not import MLflow, which takes seconds: `gradus status` reads the tags from its database.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "decision."
"""Prefix of the tags that hold the decisions on a version: the time follows."""
PROMOTED, FORCED, RESTORED, REFUSED, CLOSED = "promoted", "forced", "rolled back to", "refused", "gate closed"
"""The decisions; CLOSED is a refusal because the test questions had no opening left to decide."""
FINGERPRINT = "eval_fingerprint"
"""Key of the evaluation fingerprint among the numbers of an entry."""

Tags = Mapping[str, str]
Entry = dict[str, Any]
"""`decision`, `reason`, `numbers` (of the version) and `champion` (its number and numbers)."""


@dataclass(frozen=True)
class Openings:
    """How many versions the test questions have decided on, and how many they may decide on (`compare.openings`)."""

    used: int
    allowed: int

    @property
    def closed(self) -> bool:
        """Whether they may decide on no further version."""
        return self.used >= self.allowed

    def __str__(self) -> str:
        decided = f"The test questions have decided on {self.used} of {self.allowed} versions (compare.openings)"
        return f"{decided}: the next version needs new ones (docs/evaluation.md)." if self.closed else f"{decided}."


def entries(tags: Tags) -> list[tuple[str, Entry]]:
    """Return time and content of the decisions on a version, in order."""
    return [(tag, json.loads(tags[tag])) for tag in sorted(tags) if tag.startswith(PREFIX)]


def openings(versions: Iterable[Tags], fingerprint: str, allowed: int) -> Openings:
    """Return the openings of the test questions with an evaluation fingerprint.

    A version that they decided on counts once, however often.
    """
    used = sum(any(_opened(entry, fingerprint) for _, entry in entries(tags)) for tags in versions)
    return Openings(used, allowed)


def last_fingerprint(versions: Iterable[Tags]) -> str | None:
    """Return the evaluation fingerprint of the last decision; None if there is none."""
    made = sorted((time, entry["numbers"][FINGERPRINT]) for tags in versions for time, entry in entries(tags))
    return made[-1][1] if made else None


def champions(versions: Mapping[int, Tags]) -> list[int]:
    """Return the numbers of all champions, the present one last; a rollback drops those after its target."""
    found: list[int] = []
    events = ((time, number, entry["decision"]) for number, tags in versions.items() for time, entry in entries(tags))
    for _, number, decision in sorted(events):
        if decision == RESTORED and number in found:
            found = found[: found.index(number) + 1]
        elif decision not in (REFUSED, CLOSED):
            found = [*(each for each in found if each != number), number]
    return found


def forced(tags: Tags) -> str:
    """Return the reason of a forced promotion; empty when the version was not forced."""
    promotions = [entry for _, entry in entries(tags) if entry["decision"] not in (REFUSED, CLOSED)]
    return str(promotions[-1]["reason"]) if promotions and promotions[-1]["decision"] == FORCED else ""


def _opened(entry: Entry, fingerprint: str) -> bool:
    return entry["decision"] in (PROMOTED, REFUSED) and entry["numbers"].get(FINGERPRINT) == fingerprint
