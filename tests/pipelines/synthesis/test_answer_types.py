"""The answer type check: answers must fit the question word."""

import pytest

from pipelines.synthesis.answer_types import fits


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who restored the mill?", "Wilmot Fanthorn"),
        ("By whom was it dug?", "by prisoners"),
        ("How many boats lie there?", "46"),
        ("How often is it wound?", "twice a day"),
        ("In what year did it open?", "1921"),
        ("When is the bell rung?", "before the sluice is opened"),
        ("Where does it stand?", "on the quay behind the net lofts"),
        ("Why was it moved?", "the cellar flooded"),
        ("What is a lever?", "a stiff bar"),
        ("Who owns the quarry?", "3M"),
        ("How much does it cost?", "nothing"),
        ("How often does it flood?", "rarely"),
        ("Where is the archive?", "upstairs"),
        ("Why was the floor replaced?", "dry rot"),
        ("几内亚的首都叫什么？", "科纳克里"),
        ("有几条船？", "三条"),
        ("磨坊是谁修复的？", "范松"),
        ("为什么修复磨坊？", "因为河水很急"),
    ],
)
def test_answer_that_fits_the_question_word_passes(question: str, answer: str) -> None:
    assert fits(question, answer)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who restored the mill?", "in 1921"),
        ("Who restored the mill?", "1921–1923"),
        ("How many boats lie there?", "boats"),
        ("有几条船？", "船长"),
        ("In what year did it open?", "before the trouble began"),
        ("When was it lit?", "Sally"),
        ("Where were the cups?", "gently"),
        ("Why do boats come?", "boats"),
        ("Why may a friend come?", "if the pilot agrees"),
        ("为什么？", "河"),
    ],
)
def test_answer_of_another_type_is_rejected(question: str, answer: str) -> None:
    assert not fits(question, answer)
