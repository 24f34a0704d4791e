"""Filters: each fault is seen and named, and sound questions pass."""

import pytest

from pipelines.synthesis.filters import Novelty, agreement, fault, rouge_l

SENTENCE = "The mill was restored by Wilmot Fanthorn in 1921."


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Who restored the mill?", "Wilmot Fanthorn", None),
        ("The mill was restored.", "Wilmot Fanthorn", "not_a_question"),
        ("Who restored the mill?", "Emeric Vosper", "evidence_missing"),
        ("Did Wilmot Fanthorn restore the mill?", "Wilmot Fanthorn", "answer_in_question"),
        ("Who is named in the passage?", "Wilmot Fanthorn", "points_at_text"),
        ("Who was he paid by?", "Wilmot Fanthorn", "not_self_contained"),
        ("What happened?" + " again" * 60 + "?", "1921", "too_long"),
        ("Who restored the mill and when?", "restored by Wilmot Fanthorn in 1921", "answer_too_long"),
    ],
)
def test_fault(question: str, answer: str, reason: str | None) -> None:
    assert fault(question, answer, SENTENCE, max_words=4) == reason


def test_agreement_ignores_what_does_not_change_an_answer() -> None:
    assert agreement("in 1207", "1207") == 1.0
    assert agreement("The Long Hand", "long hand.") == 1.0
    assert agreement("red sails", "red sheep") == pytest.approx(0.5)
    assert agreement("", "anything") == 0.0


def test_rouge_l_by_hand() -> None:
    # longest common subsequence "a c d" of lengths 4 and 5: P = 3/5, R = 3/4, F = 2/3
    assert rouge_l(["a", "b", "c", "d"], ["a", "x", "c", "y", "d"]) == pytest.approx(2 / 3)


def test_novelty_finds_the_closest_question() -> None:
    known = Novelty(["Who restored the tide mill?"])
    assert known.closest("Who restored the tide mill?") == 1.0
    assert known.closest("Who restored the old tide mill?") > 0.8
    assert known.closest("What is a heron?") < 0.4
