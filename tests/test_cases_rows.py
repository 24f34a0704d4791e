"""Question files and training rows as people have them: what each becomes, and what a model learns of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import PreTrainedTokenizerFast

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.curation.rows import user_row
from pipelines.formats import chat_formats
from pipelines.models.messages import Message
from pipelines.runtime.errors import UserError
from pipelines.training.examples import IGNORED, encode_chat
from pipelines.user_files import read_json
from tests.conftest import tiny_tokenizer

CASES = Path(__file__).parent / "cases"
EXPECTED: dict[str, Any] = yaml.safe_load((CASES / "expected.yaml").read_text(encoding="utf-8"))["rows"]
CONVERSATIONS = [name for name, expected in EXPECTED.items() if isinstance(expected, list)]


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    """The rows by name, read as a user's file is."""
    found: dict[str, Row] = read_json(CASES / "import_rows_of_many_forms.json")
    return found


@pytest.fixture(scope="module")
def tok() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


def spelt(messages: list[Message]) -> list[str]:
    return [f"{each['role']}: {each['content']}" for each in messages]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_row_becomes_a_conversation_a_pair_or_a_reason(rows: dict[str, Row], name: str) -> None:
    good, unfit = chat_formats.read([rows[name]])
    if unfit:
        found: object = unfit[0]["reason"]
    elif "messages" in good[0]:
        found = spelt(good[0]["messages"])
    else:
        found = {side: spelt(good[0][side]) for side in ("prompt", "chosen", "rejected")}
    assert found == EXPECTED[name]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_every_answer_is_learnt_as_written_and_ended_once(
    rows: dict[str, Row], tok: PreTrainedTokenizerFast, name: str
) -> None:
    """The end of a turn is learnt where a turn ends; the same mark within an answer is text."""
    messages = user_row(chat_formats.read([rows[name]])[0][0])["messages"]
    answers = [each["content"] for each in messages if each["role"] == "assistant"]
    learnt = [label for label in encode_chat(tok, messages).labels if label != IGNORED]
    assert learnt.count(tok.eos_token_id) == len(answers)
    assert tok.decode(learnt, skip_special_tokens=True) == "".join(answers)


def test_every_row_has_its_right_value(rows: dict[str, Row]) -> None:
    assert rows.keys() == EXPECTED.keys()


def test_a_question_file_with_a_byte_order_mark_is_read() -> None:
    assert artifacts.read_rows(CASES / "questions_with_bom.jsonl") == [
        {"id": "q1", "question": "When was the glass house opened?", "answer": "1931", "split": "test"}
    ]


def test_a_question_file_in_another_encoding_is_refused_by_file_and_line() -> None:
    with pytest.raises(UserError, match=r"questions_in_latin1\.jsonl, line 1: not UTF-8"):
        artifacts.read_rows(CASES / "questions_in_latin1.jsonl")
