"""Clauses: the shortest sayable beginning of a sentence that holds the span."""

import pytest

from pipelines.synthesis.clauses import clause


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
def test_an_answer_is_the_clause_that_holds_the_span(sentence: str, span: str, answer: str) -> None:
    assert clause(sentence, span, most_words=12) == answer
