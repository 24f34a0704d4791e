"""Clauses: the shortest prefix of a sentence that contains the span and ends at a clause boundary."""

import pytest

from pipelines.text.clauses import clause, ended, pieces

WHOLE = ""  # the answer is the whole sentence


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
        ("The Lord keeps the walls, the roof, and the drains in repair.", "walls", WHOLE),
        ("The board consists of Anna Brown, Carl Dent and Eve Fox.", "Anna Brown", WHOLE),
        ("If the pressure falls below two bar, the pump stops.", "two bar", WHOLE),
        ("The tower (built in 1820 for Hale, restored in 1901) is closed.", "1820", WHOLE),
        ("It is exposed, but, when dry, it heals.", "exposed", WHOLE),
        ("“We lost nine boats there, all off Skerries,” said Brand.", "nine boats", WHOLE),
        ("They owed us all forty guineas.”", "forty guineas", "They owed us all forty guineas."),
        ("Parking costs £5 per day", "£5", "Parking costs £5 per day."),
        ("Annual leave | 27 | Line manager", "27", "Annual leave: 27."),
        ("Annual leave | 27 | Line manager", "Annual leave", "Annual leave: 27, Line manager."),
        ("Museum | – | 12 hours", "12 hours", "Museum: 12 hours."),
        ("– | Monday | 12 hours", "12 hours", "Monday: 12 hours."),
        ("Nothing of the kind is here.", "1979", "1979"),
    ],
)
def test_answer_is_the_clause_that_contains_the_span(sentence: str, span: str, answer: str) -> None:
    assert clause(sentence, span, most_words=12) == (answer or sentence)


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
