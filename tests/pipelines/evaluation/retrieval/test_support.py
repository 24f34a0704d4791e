"""Which answers a sentence of the documents supports."""

import pytest

from pipelines.evaluation.retrieval.support import Verifier

DOCUMENTS = [
    {
        "source": "mill.md",
        "title": "The Tide Mill",
        "text": "The tide mill at Pargell Creek was built in 1731. It was drawn by Emeric Vosper with a burnt stick. "
        "Its barley is sold on Saturdays.",
    },
    {
        "source": "ferry.md",
        "title": "The Ferry",
        "text": "The ferry was built in 1860 by Lambert Cheswin. It sails on Saturdays. Its master is Lorcan Tule.",
    },
    *(
        {"source": f"{number}.md", "title": "Harbour", "text": f"The harbour log for week {number} names no vessel."}
        for number in range(20)
    ),
]


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier(DOCUMENTS)


@pytest.mark.parametrize(
    ("question", "answer", "source"),
    [
        ("When was the tide mill built?", "The tide mill was built in 1731.", "mill.md"),
        ("When was the tide mill built?", "1731", "mill.md"),
        ("Where was the tide mill built?", "At Pargell Creek.", "mill.md"),
        ("Who drew the tide mill?", "Mr Emeric Vosper.", "mill.md"),
        ("When was the tide mill built?", "In 1731 Source:0a1b2c3d", "mill.md"),
        ("When was the tide mill built?", "The tide mill was built in 1860.", None),  # another number
        ("Who drew the tide mill?", "Emeric Vosper drew it.", "mill.md"),  # "the mill" is in the sentence before
        ("Who drew the tide mill?", "Lorcan Tule drew it.", None),  # another name
        ("Who is the master of the ferry?", "Lorcan Tule", "ferry.md"),
        ("Which opera did the composer finish last?", "The ferry sails on Saturdays.", None),  # another question
        ("When was the tide mill built?", "", None),
        ("What was the tide mill drawn with?", "With a golden pen and a purple ruler.", None),  # other words
    ],
)
def test_support_needs_the_answer_in_one_sentence_and_the_question_around_it(
    verifier: Verifier, question: str, answer: str, source: str | None
) -> None:
    found = verifier.support(question, answer)
    assert (found.source if found else None) == source


def test_the_sentence_itself_is_returned(verifier: Verifier) -> None:
    found = verifier.support("Who drew the tide mill?", "Emeric Vosper")
    assert found is not None and found.sentence == "It was drawn by Emeric Vosper with a burnt stick."


def test_chinese_answers_are_verified() -> None:
    verifier = Verifier([{"source": "m", "title": None, "text": "潮汐磨坊建于1783年。渡船每天两班。"}])
    found = verifier.support("潮汐磨坊建于哪一年？", "1783年")
    assert found is not None and found.sentence == "潮汐磨坊建于1783年。"
    assert verifier.support("潮汐磨坊建于哪一年？", "1860年") is None
