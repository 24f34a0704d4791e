"""Training examples of teachers: both roles, abstention, and invalid seeds."""

import pytest

from pipelines.llm.prompts import load
from pipelines.runtime.errors import UserError
from pipelines.synthesis.teacher_examples import training_examples
from tests.support.teachers import PROMPTS

WRITER, READER = load(PROMPTS, "answer_first"), load(PROMPTS, "reader")
MILL = {"passage": "The mill is old. Orr built it.", "answer": "Orr", "question": "Who built the mill?"}
MISS = {**MILL, "answer": None, "question": "Why is the mill old?"}
BELL = {"passage": "The bell came from Garrick Bay.", "answer": "Garrick Bay", "question": "Where was the bell made?"}


def test_answered_seed_gives_an_example_for_each_role() -> None:
    reading, writing = training_examples([MILL], WRITER, READER, seed=0)
    assert reading[-1]["content"] == "Orr" and "Question: Who built the mill?" in reading[0]["content"]
    assert writing[-1]["content"] == "Who built the mill?"
    assert "Sentence: Orr built it.\nAnswer: Orr" in writing[0]["content"]
    assert {message["role"] for message in writing} == {"user", "assistant"}


def test_near_miss_teaches_the_reader_to_abstain() -> None:
    (reading,) = training_examples([MISS], WRITER, READER, seed=0)
    assert reading[-1]["content"] == "Not stated."


def test_some_questions_are_repeated_with_another_passage() -> None:
    chats = training_examples([MILL, BELL] * 4, WRITER, READER, seed=0)
    abstaining = [chat for chat in chats if chat[-1]["content"] == "Not stated."]
    assert len(abstaining) == 2
    for chat in abstaining:
        assert MILL["passage"] in chat[0]["content"] and BELL["question"] in chat[0]["content"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"passage": "a", "answer": "a"}, "row 1 has no 'question'"),
        ({**MILL, "answer": "Ely"}, "row 1 has an answer that is not in its passage"),
    ],
)
def test_invalid_seed_is_a_user_error(row: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        training_examples([row], WRITER, READER, seed=0)
