"""Which documents are held out."""

from collections import Counter
from pathlib import Path

import pytest

from pipelines.data.hold_out import asked, sides
from pipelines.errors import UserError

IDS = [f"d{n}" for n in range(40)]


def test_shares_are_of_all_and_only_the_free_are_held_out() -> None:
    keep = set(IDS[:30])
    found = sides(IDS, keep, validation=0.05, test=0.1, seed=1)
    assert Counter(found.values()) == {"train": 34, "test": 4, "validation": 2}
    assert all(found[each] == "train" for each in keep)


@pytest.mark.parametrize(("free", "held_out"), [(0, {}), (1, {"test": 1}), (2, {"test": 1, "validation": 1})])
def test_few_free_documents_are_shared_out(free: int, held_out: dict[str, int]) -> None:
    found = Counter(sides(IDS, set(IDS[free:]), 0.05, 0.1, seed=1).values())
    assert found == Counter(held_out) + Counter({"train": 40 - free})


def test_a_small_share_of_few_documents_is_one_and_no_share_is_none() -> None:
    assert Counter(sides(IDS[:4], set(), 0.05, 0.1, seed=1).values()) == {"train": 2, "test": 1, "validation": 1}
    assert Counter(sides(IDS, set(), 0.0, 0.0, seed=1).values()) == {"train": 40}


def test_the_order_of_ids_does_not_matter_and_the_seed_does() -> None:
    assert sides(IDS, set(), 0.1, 0.2, 1) == sides(IDS[::-1], set(), 0.1, 0.2, 1)
    assert sides(IDS, set(), 0.1, 0.2, 1) != sides(IDS, set(), 0.1, 0.2, 2)


def test_one_document_more_moves_no_other_between_test_and_training_but_at_the_edge() -> None:
    before, after = sides(IDS, set(), 0.0, 0.2, 1), sides([*IDS, "new"], set(), 0.0, 0.2, 1)
    assert sum(before[each] != after[each] for each in IDS) <= 1


def test_questions_without_a_folder_or_with_broken_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="questions"):
        asked(tmp_path / "missing")
    (tmp_path / "a.jsonl").write_text('{"id": "a1", "sources": "x.txt"}\n')
    with pytest.raises(UserError, match="a1"):
        asked(tmp_path)
