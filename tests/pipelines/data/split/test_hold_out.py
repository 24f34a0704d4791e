"""Document-level hold-out."""

from collections import Counter

import pytest

from pipelines.data.split import hold_out

IDS = [f"d{n}" for n in range(40)]


def sides(ids: list[str], needed: set[str], validation: float, test: float, seed: int) -> dict[str, str]:
    """Return the splits of documents of equal length."""
    return hold_out.sides(dict.fromkeys(ids, 100), needed, validation, test, seed)


def test_shares_refer_to_all_documents_and_needed_ones_are_not_held_out() -> None:
    keep = set(IDS[:30])
    found = sides(IDS, keep, validation=0.05, test=0.1, seed=1)
    assert Counter(found.values()) == {"train": 34, "test": 4, "validation": 2}
    assert all(found[each] == "train" for each in keep)


@pytest.mark.parametrize(("free", "held_out"), [(0, {}), (1, {"test": 1}), (2, {"test": 1, "validation": 1})])
def test_few_available_documents_are_divided_between_splits(free: int, held_out: dict[str, int]) -> None:
    found = Counter(sides(IDS, set(IDS[free:]), 0.05, 0.1, seed=1).values())
    assert found == Counter(held_out) + Counter({"train": 40 - free})


def test_document_longer_than_its_share_is_not_held_out() -> None:
    assert Counter(sides(IDS[:4], set(), 0.05, 0.1, seed=1).values()) == {"train": 4}
    assert Counter(sides(IDS[:1], set(), 0.2, 0.5, seed=1).values()) == {"train": 1}
    sizes = {"book": 10_000, "note": 50, "letter": 60}
    assert hold_out.sides(sizes, set(), 0.05, 0.1, seed=1)["book"] == "train"


def test_zero_share_holds_out_no_document() -> None:
    assert Counter(sides(IDS, set(), 0.0, 0.0, seed=1).values()) == {"train": 40}


def test_split_depends_on_seed_and_not_on_order() -> None:
    assert sides(IDS, set(), 0.1, 0.2, 1) == sides(IDS[::-1], set(), 0.1, 0.2, 1)
    assert sides(IDS, set(), 0.1, 0.2, 1) != sides(IDS, set(), 0.1, 0.2, 2)


def test_added_document_moves_at_most_one_boundary_document() -> None:
    before, after = sides(IDS, set(), 0.0, 0.2, 1), sides([*IDS, "new"], set(), 0.0, 0.2, 1)
    assert sum(before[each] != after[each] for each in IDS) <= 1
