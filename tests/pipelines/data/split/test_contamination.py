"""Cuts of evaluation items from training text and of trained text from held-out documents."""

from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.data.split.contamination import items, leaks, uncovered, without
from pipelines.data.split.overlaps import Index, Item
from pipelines.runtime.errors import UserError

ENGLISH = "Who was the very first to hold the harbour master's post at Brunnick?"


def test_only_the_leaking_paragraph_is_removed() -> None:
    index = Index([Item("q", "q.jsonl", ENGLISH)], 8, 6)
    assert without(f"Before.\n\n{ENGLISH} Drace.\n\nAfter.", index, 0.95) == "Before.\n\nAfter."
    assert leaks(index.overlaps(ENGLISH)[0], 1.0)


def numbered(first: int, last: int, per_paragraph: int) -> str:
    """Return the words `w{first}` to `w{last - 1}` in paragraphs of `per_paragraph` words."""
    parts = [range(start, min(start + per_paragraph, last)) for start in range(first, last, per_paragraph)]
    return "\n\n".join(" ".join(f"w{number}" for number in part) for part in parts)


@pytest.mark.parametrize("per_paragraph", [1, 10, 24, 25, 49, 50, 120])
@pytest.mark.parametrize("shared", [(0, 50), (13, 63), (95, 170), (0, 240)])
def test_fifty_shared_words_are_cut_across_paragraphs_of_any_length(
    per_paragraph: int, shared: tuple[int, int]
) -> None:
    text, (first, last) = numbered(0, 240, per_paragraph), shared
    overlaps = Index([Item("held", "held.md", text)], 25, 25, stride=25).overlaps(
        f"before {numbered(*shared, 7)} after"
    )
    kept = [int(word[1:]) for word in uncovered(text, overlaps, 25).split()]
    runs = "".join("x" if number in kept else " " for number in range(first, last)).split()
    assert max(map(len, runs), default=0) < 50
    outside = [part for part in text.split("\n\n") if not set(part.split()) & set(numbered(*shared, 7).split())]
    assert all(int(word[1:]) in kept for part in outside for word in part.split())


def test_paragraph_that_shares_few_words_with_training_is_kept() -> None:
    text = f"{numbered(0, 60, 60)}\n\nThe keeper came home late."
    overlaps = Index([Item("held", "held.md", text)], 25, 25, stride=25).overlaps(f"{numbered(0, 60, 60)} The end.")
    assert [overlap.words for overlap in overlaps] == [61]
    assert uncovered(text, overlaps, 25) == "The keeper came home late."


def test_items_are_read_from_every_supported_field(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    artifacts.write_rows(tmp_path / "a.jsonl", [{"id": "one", "question": "Q"}, {"prompt": "P"}, {"other": 1}])
    artifacts.write_rows(tmp_path / "more/b.jsonl", [{"text": "T"}])
    assert [(each.id, each.text) for each in items(tmp_path)] == [("one", "Q"), ("2", "P"), ("1", "T")]
    (tmp_path / "empty").mkdir()
    assert items(tmp_path / "empty") == items(tmp_path / "missing") == []
    artifacts.write_rows(tmp_path / "empty/c.jsonl", [{"other": 1}])
    with pytest.raises(UserError, match="with a question, prompt"):
        items(tmp_path / "empty")
