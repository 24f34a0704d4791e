"""Clauses: the shortest prefix of a sentence that contains the span and ends at a clause boundary."""

import pytest

from pipelines.text.clauses import clause, ended, pieces


@pytest.mark.parametrize(
    ("sentence", "span", "answer"),
    [
        (
            "The ice house stands on Herring Stair, and the door is left open.",
            "Herring Stair",
            "The ice house stands on Herring Stair.",
        ),
        ("The count found 2,314 people, which is few.", "2,314 people", "The count found 2,314 people."),
        ("It closed in 1979, and reopened in 1983.", "1979", "It closed in 1979, and reopened in 1983."),
        ("She bought rope, tar and nails at Brunnick.", "Brunnick", "She bought rope, tar and nails at Brunnick."),
        ("This sentence goes on and on about nothing much at all in 1979.", "1979", "1979"),
        ("这座磨坊建于1783年，后来被烧毁。", "1783年", "这座磨坊建于1783年，后来被烧毁。"),
        ("Nothing of the kind is here.", "1979", "1979"),
    ],
)
def test_answer_is_the_clause_that_contains_the_span(sentence: str, span: str, answer: str) -> None:
    assert clause(sentence, span, most_words=12) == answer


LONG = "The mill stood idle for years, the wheel rotted, and when it was restored in 1921 the bell was hung again."


@pytest.mark.parametrize(
    ("most_words", "expected"),
    [
        (30, [LONG]),
        (
            12,
            [
                "The mill stood idle for years, the wheel rotted",
                "and when it was restored in 1921 the bell was hung again.",
            ],
        ),
        (9, ["The mill stood idle for years, the wheel rotted"]),
        (3, []),
    ],
)
def test_long_sentence_is_split_between_clauses(most_words: int, expected: list[str]) -> None:
    assert [LONG[start:end] for start, end in pieces(LONG, most_words)] == expected
    assert pieces("It rang.", 9) == [(0, 8)]


def test_clauses_get_one_full_stop() -> None:
    assert [ended(text) for text in ("the wheel rotted,", "It rang.", "它建于1783年。")] == [
        "the wheel rotted.",
        "It rang.",
        "它建于1783年。",
    ]
