"""Question files and training rows in the formats users have: the parsed result and its training labels."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import PreTrainedTokenizerFast

from pipelines import artifacts
from pipelines.artifacts import Row
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
    """Rows by name, read from a user file."""
    found: dict[str, Row] = read_json(CASES / "import_rows_of_many_forms.json")
    return found


@pytest.fixture(scope="module")
def tok() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


def as_text(messages: list[Message]) -> list[str]:
    return [f"{each['role']}: {each['content']}" for each in messages]


@pytest.mark.parametrize("name", EXPECTED)
def test_row_becomes_a_conversation_a_pair_or_a_rejection_reason(rows: dict[str, Row], name: str) -> None:
    good, unfit = chat_formats.read([rows[name]])
    if unfit:
        found: object = unfit[0]["reason"]
    elif "messages" in good[0]:
        found = as_text(good[0]["messages"])
    else:
        found = {side: as_text(good[0][side]) for side in ("prompt", "chosen", "rejected")}
    assert found == EXPECTED[name]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_every_answer_is_labelled_verbatim_with_one_end_of_turn(
    rows: dict[str, Row], tok: PreTrainedTokenizerFast, name: str
) -> None:
    """The end-of-turn token is labelled only at the end of a turn; the same marker within an answer is text."""
    messages = chat_formats.read([rows[name]])[0][0]["messages"]
    answers = [each["content"] for each in messages if each["role"] == "assistant"]
    labelled = [label for label in encode_chat(tok, messages).labels if label != IGNORED]
    assert labelled.count(tok.eos_token_id) == len(answers)
    assert tok.decode(labelled, skip_special_tokens=True) == "".join(answers)


def test_every_row_has_an_expected_value(rows: dict[str, Row]) -> None:
    assert rows.keys() == EXPECTED.keys()


def test_question_file_with_byte_order_mark_is_read() -> None:
    assert artifacts.read_rows(CASES / "questions_with_bom.jsonl") == [
        {"id": "q1", "question": "When was the glass house opened?", "answer": "1931", "split": "test"}
    ]


def test_question_file_in_another_encoding_raises_with_file_and_line() -> None:
    with pytest.raises(UserError, match=r"questions_in_latin1\.jsonl, line 1: not UTF-8"):
        artifacts.read_rows(CASES / "questions_in_latin1.jsonl")
