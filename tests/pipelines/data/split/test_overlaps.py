"""N-gram overlap between questions and documents."""

import pytest

from pipelines.data.split.overlaps import Index, Item

ENGLISH = "Who was the very first to hold the harbour master's post at Brunnick?"
CHINESE = "谁是第一个担任布伦尼克港务长职务的人？"
FILLER = "The ferry sails in the morning, and the lamp is lit by seven. " * 3


def found(question: str, text: str, words: int = 8) -> list[tuple[float, float]]:
    overlaps = Index([Item("q", "q.jsonl", question)], words, 6).overlaps(text)
    return [(round(each.item_share, 2), round(each.document_share, 2)) for each in overlaps]


@pytest.mark.parametrize("question", [ENGLISH, CHINESE])
def test_whole_question_is_found_regardless_of_spelling(question: str) -> None:
    for text in (question, question.upper(), question.rstrip("?？") + " …", f"{FILLER}{question} {FILLER}"):
        assert [share for share, _ in found(question, text)] == [1.0]


def test_spans_are_extended_both_ways_and_each_is_returned_once() -> None:
    half = "the very first to hold the harbour master's post"
    assert found(ENGLISH, f"Of {half} we know nothing.") == [(0.71, 0.71)]
    longer = f"Of {half} nothing, but who was the very first to hold the harbour master's place"
    assert found(ENGLISH, longer) == [(0.71, 0.4), (0.79, 0.44)]


def test_short_document_in_long_item_is_found() -> None:
    document = "the lamp is lit by seven the ferry sails in the morning"
    assert found(FILLER, document)[0][1] == 1.0


@pytest.mark.parametrize(
    "text",
    [
        FILLER,
        "",
        "The man who held the harbour master's post at Brunnick before all others was Oswin Drace.",
        "Who was really the first ever to hold a harbour master's post in Brunnick?",
    ],
)
def test_paraphrases_and_other_texts_do_not_overlap(text: str) -> None:
    assert found(ENGLISH, text) == []


def test_common_phrase_is_too_short_to_overlap() -> None:
    assert found("What is the capital?", "What is the capital? It is Brunnick.") == []


def test_stride_finds_every_span_of_sufficient_length() -> None:
    words = [f"w{number}" for number in range(300)]
    index = Index([Item("p", "d", " ".join(words))], 25, 25, stride=25)
    for start in range(0, 250, 7):
        (overlap,) = index.overlaps("before " + " ".join(words[start : start + 50]) + " after")
        assert (overlap.at, overlap.words) == (start, 50)
