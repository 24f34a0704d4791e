"""Lessons: both roles are taught from one seed, near misses teach silence, and a wrong seed is told."""

import pytest

from pipelines.llm.prompts import load
from pipelines.runtime.errors import UserError
from pipelines.synthesis.teacher_examples import training_examples
from tests.support.teachers import PROMPTS

WRITER, READER = load(PROMPTS, "answer_first"), load(PROMPTS, "reader")
MILL = {"passage": "The mill is old. Orr built it.", "answer": "Orr", "question": "Who built the mill?"}
MISS = {**MILL, "answer": None, "question": "Why is the mill old?"}
BELL = {"passage": "The bell came from Garrick Bay.", "answer": "Garrick Bay", "question": "Where was the bell made?"}


def test_an_answered_seed_teaches_both_roles_in_their_own_words() -> None:
    reading, writing = training_examples([MILL], WRITER, READER, seed=0)
    assert reading[-1]["content"] == "Orr" and "Question: Who built the mill?" in reading[0]["content"]
    assert writing[-1]["content"] == "Who built the mill?"
    assert "Sentence: Orr built it.\nAnswer: Orr" in writing[0]["content"]
    assert {message["role"] for message in writing} == {"user", "assistant"}


def test_a_near_miss_teaches_the_reader_to_say_nothing() -> None:
    (reading,) = training_examples([MISS], WRITER, READER, seed=0)
    assert reading[-1]["content"] == "Not stated."


def test_some_questions_meet_another_passage() -> None:
    chats = training_examples([MILL, BELL] * 4, WRITER, READER, seed=0)
    silent = [chat for chat in chats if chat[-1]["content"] == "Not stated."]
    assert len(silent) == 2
    assert all(("mill" in chat[0]["content"]) != ("Who built" in chat[0]["content"]) for chat in silent[:1])


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"passage": "a", "answer": "a"}, "row 1 has no 'question'"),
        ({**MILL, "answer": "Ely"}, "row 1 has an answer that is not in its passage"),
    ],
)
def test_a_wrong_seed_is_told(row: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        training_examples([row], WRITER, READER, seed=0)
