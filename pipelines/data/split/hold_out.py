"""Which documents are held out whole: none that a question asks about, and none that holds too much of the text."""

import hashlib
from collections.abc import Iterable, Mapping, Set


def sides(sizes: Mapping[str, int], needed: Set[str], validation: float, test: float, seed: int) -> dict[str, str]:
    """Return for each id `train`, `validation` or `test`; `sizes` are characters by id.

    The shares are of all ids, but only those no question needs can be held out, in the order of a seeded hash, and
    only those that are no longer than their side's share of the text. A share above 0 is at least one id; where there
    are too few, the shares are scaled down.
    """
    total = sum(sizes.values())
    free = sorted(sizes.keys() - needed, key=lambda each: rank(each, seed))
    tests, validations = _count(test, len(sizes)), _count(validation, len(sizes))
    if tests + validations > len(free):
        tests = min(tests, max(1, len(free) * tests // (tests + validations)))
    chosen: dict[str, str] = {}
    for side, share, count in (("test", test, tests), ("validation", validation, validations)):
        fitting = (each for each in free if each not in chosen and sizes[each] <= share * total)
        chosen |= dict.fromkeys(list(fitting)[:count], side)
    return {each: chosen.get(each, "train") for each in sizes}


def names(sources: Iterable[str]) -> str:
    """Name a few sources in a sentence."""
    listed = sorted(sources)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def rank(each: str, seed: int) -> str:
    """Return a key to sort by, which leaves the order of the others when one is added."""
    return hashlib.sha256(f"{seed}/{each}".encode()).hexdigest()


def _count(share: float, total: int) -> int:
    return max(1, round(share * total)) if share > 0 else 0
