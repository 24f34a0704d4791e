"""Training examples: only answers and their end of turn are labelled; the batch plan is deterministic."""

import pytest

from pipelines.runtime.errors import UserError
from pipelines.training.examples import IGNORED, encode_chat, encode_text, plan_batches
from tests.conftest import tiny_tokenizer

pytestmark = pytest.mark.slow

CHAT = [{"role": "user", "content": "Who keeps the light?"}, {"role": "assistant", "content": "Orla Finch"}]


def test_only_the_answer_and_its_end_of_turn_are_labelled() -> None:
    tok = tiny_tokenizer()
    row = encode_chat(tok, CHAT)
    labelled = [label for label in row.labels if label != IGNORED]
    assert tok.decode(labelled) == "Orla Finch<|im_end|>"
    assert labelled[-1] == tok.eos_token_id == row.ids[-1]
    assert len(row.ids) == len(row.labels)


def test_every_answer_of_a_conversation_is_labelled() -> None:
    tok = tiny_tokenizer()
    more = [*CHAT, {"role": "user", "content": "Since when?"}, {"role": "assistant", "content": "Since May"}]
    row = encode_chat(tok, more)
    labelled = tok.decode([label for label in row.labels if label != IGNORED])
    assert labelled == "Orla Finch<|im_end|>Since May<|im_end|>"
    assert all(label in (IGNORED, token) for label, token in zip(row.labels, row.ids, strict=True))


def test_template_without_end_of_turn_raises() -> None:
    tok = tiny_tokenizer()
    tok.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    with pytest.raises(UserError, match="end of turn"):
        encode_chat(tok, CHAT)


def test_text_is_split_into_sequences_that_join_to_the_text() -> None:
    tok = tiny_tokenizer()
    text = "The bell is rung twice before the sluice is opened. " * 10
    pieces = encode_text(tok, text, length=32)
    assert [token for piece in pieces for token in piece.ids] == tok(text)["input_ids"]
    assert all(piece.labels == piece.ids and len(piece.ids) <= 32 for piece in pieces)


def test_plan_covers_every_row_per_epoch_within_the_token_budget() -> None:
    lengths = [5, 40, 12, 33, 7, 28, 19, 3]
    plan = plan_batches(lengths, [1.0] * 8, epochs=3, batch_tokens=64, seed=1)
    assert sorted(row for batch in plan for row in batch) == sorted([*range(8)] * 3)
    assert all(len(batch) * max(lengths[row] for row in batch) <= 64 for batch in plan)
    assert plan == plan_batches(lengths, [1.0] * 8, epochs=3, batch_tokens=64, seed=1)
    assert plan != plan_batches(lengths, [1.0] * 8, epochs=3, batch_tokens=64, seed=2)


def test_rows_are_sampled_by_weight() -> None:
    plan = plan_batches([10] * 200, [1.0] * 100 + [0.5] * 100, epochs=4, batch_tokens=100, seed=0)
    rows = [row for batch in plan for row in batch]
    assert sum(row < 100 for row in rows) == 400
    assert 150 < sum(row >= 100 for row in rows) < 250


def test_row_longer_than_the_budget_has_its_own_batch() -> None:
    assert sorted(map(tuple, plan_batches([90, 5, 5], [1.0] * 3, 1, 20, 0))) == [(0,), (1, 2)] or sorted(
        map(tuple, plan_batches([90, 5, 5], [1.0] * 3, 1, 20, 0))
    ) == [(0,), (2, 1)]
