"""Which documents are held out, and which may not be because a question asks about them."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipelines import artifacts
from pipelines.errors import UserError


def asked(questions: Path) -> dict[str, str]:
    """Return the sources that the hand-written questions name, each with the file that names it first.

    Raises:
        UserError: there are no questions, or `sources` is no list of paths.
    """
    paths = sorted(questions.glob("*.jsonl"))
    if not paths:
        raise UserError(f"{questions} holds no .jsonl file of questions; write some or change split.questions.")
    named: dict[str, str] = {}
    for path in paths:
        for row in artifacts.read_rows(path):
            sources = row.get("sources", [])
            if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
                raise UserError(f"{path}: 'sources' of question {row.get('id')!r} must be a list of file paths.")
            for source in sources:
                named.setdefault(source, str(path))
    return named


def sides(ids: Sequence[str], asked_about: set[str], validation: float, test: float, seed: int) -> dict[str, str]:
    """Return for each id `train`, `validation` or `test`.

    The shares are of all ids, but only those no question asks about can be held out, in the order of a seeded
    hash. A share above 0 is at least one id where there are two to choose from; where there are too few, the
    shares are scaled down.
    """
    free = sorted(set(ids) - asked_about, key=lambda each: _rank(each, seed))
    tests, validations = _count(test, len(ids)), _count(validation, len(ids))
    if tests + validations > len(free):
        tests = min(tests, max(1, len(free) * tests // (tests + validations)))
    chosen = dict.fromkeys(free[tests : tests + validations], "validation") | dict.fromkeys(free[:tests], "test")
    return {each: chosen.get(each, "train") for each in ids}


def names(sources: Iterable[str]) -> str:
    """Name a few sources in a sentence."""
    listed = sorted(sources)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _count(share: float, total: int) -> int:
    return max(1, round(share * total)) if share > 0 else 0


def _rank(each: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{each}".encode()).hexdigest()
