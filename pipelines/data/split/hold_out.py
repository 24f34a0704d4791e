"""Document-level hold-out: exclude documents that questions need and documents larger than their split's share."""

import hashlib
from collections.abc import Iterable, Mapping, Set


def sides(sizes: Mapping[str, int], needed: Set[str], validation: float, test: float, seed: int) -> dict[str, str]:
    """Assign each id to `train`, `validation` or `test`; `sizes` maps ids to characters.

    The shares refer to all ids. Only ids that no question needs are held out, in the order of a seeded hash, and only
    if they are no longer than their split's share of the text. A share above 0 holds out at least one id; if too few
    are available, the shares are scaled down.
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
    """Format up to three sources for a message, with the number of the others."""
    listed = sorted(sources)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def rank(each: str, seed: int) -> str:
    """Return a seeded hash to sort by; adding an id leaves the order of the others unchanged."""
    return hashlib.sha256(f"{seed}/{each}".encode()).hexdigest()


def _count(share: float, total: int) -> int:
    return max(1, round(share * total)) if share > 0 else 0
