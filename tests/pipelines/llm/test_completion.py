"""Completions: any JSON yields an answer or a failure reason, costs at most the reservation, and is encodable."""

import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.llm import completion
from pipelines.llm.budget import Budget
from pipelines.llm.cache import CachedModel, ResponseCache
from pipelines.llm.calls import Call
from pipelines.llm.config import PriceBlock, ServedModel
from pipelines.llm.openai import ServedTeacher
from pipelines.models.templates.thinking import answer_of
from pipelines.runtime.errors import UserError
from tests.support import chat_server as stub
from tests.support.chat_server import Server

pytestmark = pytest.mark.slow

TEXT = st.text(st.characters() | st.sampled_from("\ud83d\udc00\ufffd{}<>\n")) | st.sampled_from(
    [
        "<think>",
        "</think>",
        "<think>\n\n</think>\n\nWhy?",
        "ha",
        "\ud83d\ude00",
        "[THINK]",
        "<|channel|>final<|message|>x",
    ]
)
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)


def object_of(**fields: Any) -> Any:
    """Return a strategy for objects with these fields, each of which may be missing or have any value."""
    return st.fixed_dictionaries({}, optional={name: JSON | likely for name, likely in fields.items()})


COUNT = st.integers(1, 30)
PARTS = st.lists(object_of(type=st.sampled_from(["text", "thinking"]), text=TEXT), max_size=3)
MESSAGE = object_of(content=st.lists(TEXT, max_size=4).map("".join) | PARTS, reasoning_content=TEXT, refusal=st.none())
CHOICE = object_of(message=MESSAGE, finish_reason=st.sampled_from(["stop", "length", "content_filter"]))
BODY = object_of(
    choices=st.lists(CHOICE, min_size=1, max_size=1), usage=object_of(prompt_tokens=COUNT, completion_tokens=COUNT)
)
MODEL: dict[str, object] = {"kind": "openai", "model": "wise", "revision": None, "key": None, "max_concurrency": 4}
MODEL |= {"timeout_s": 5.0, "context_tokens": None, "structured": "none", "extra_body": {}}


@given(BODY | JSON)
def test_any_body_yields_an_answer_or_a_failure_reason(body: Any) -> None:
    parsed = completion.parsed(json.dumps(body))
    reply = completion.reply(parsed)
    assert (reply.text is None) != (reply.failure is None)
    assert reply.text is None or reply.text.strip() == reply.text != ""
    (reply.text or "").encode()
    completion.error_message(json.dumps(body)).encode()
    assert all(count is None or count > 0 for count in completion.tokens(parsed))


@given(
    st.binary(max_size=40)
    | st.sampled_from([b"[" * 100_000, b"9" * 5000, b'{"choices": [{"message": {"content": 1e999}}]}'])
)
def test_invalid_completions_yield_a_failure_reason(raw: bytes) -> None:
    assert completion.reply(completion.parsed(raw.decode(errors="replace"))).failure in (
        "no_completion",
        "empty_answer",
    )


OPEN, CLOSE = ["<think>", "<thinking>", "<THINK>", "[THINK]"], ["</think>", "</thinking>", "</THINK>", "[/THINK]"]
WORDS = st.text(st.characters(exclude_characters="<>[]◁`|"), max_size=20)
BLOCK = st.tuples(WORDS, st.integers(0, 3)).map(lambda each: f"{OPEN[each[1]]}{each[0]}{CLOSE[each[1]]}")


@given(st.lists(BLOCK, max_size=3), WORDS, st.lists(BLOCK, max_size=2), st.booleans(), WORDS)
def test_reasoning_blocks_are_removed_from_answers(
    before: list[str], answer: str, behind: list[str], unopened: bool, thought: str
) -> None:
    opened = f"{thought}\n</think>\n" if unopened else ""
    assert answer_of(f"{opened}{''.join(before)}{answer}{''.join(behind)}") == answer.strip()
    assert answer_of(f"{opened}{''.join(before)}\n<think>{thought}") == ""


def test_quoted_reasoning_tags_are_kept() -> None:
    for text in ("What does `</think>` end?", "What does <think> begin?", '{"question": "What is <think>?"}'):
        assert answer_of(text) == text


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@given(st.lists(BODY | JSON, min_size=1, max_size=12), st.floats(0.01, 0.2))
@settings(max_examples=15, deadline=None)
def test_budget_is_never_exceeded_and_failures_are_never_cached(
    server: Server, bodies: list[Any], limit: float
) -> None:
    """A call of 11 bytes and 9 tokens costs at most 0.02, which the `usage` of an honest server never exceeds."""
    honest = [_honest(body) for body in bodies]
    server.faults = [stub.body(json.dumps(body).encode()) for body in honest]
    config = ServedModel.model_validate({**MODEL, "url": server.url, "price": PriceBlock(prompt=1000, completion=1000)})
    calls = [Call([{"role": "user", "content": f"question {at:02}"}], 9) for at in range(12)]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr("pipelines.llm.openai._FIRST_PAUSE", 0.001)
        budget, store = Budget(limit), ResponseCache(Path(folder) / "calls.db")
        cached = CachedModel(ServedTeacher(config, 3, budget), store, "wise", "1", 3)
        cached.teacher.count_cached("asking", 1)  # a server that works
        try:
            replies = cached.ask(calls, "asking")
        except UserError:
            replies = []
        assert all((reply.text is None) != (reply.failure is None) for reply in replies)
        assert budget.spent <= limit + 1e-9
        for answer in store.find(cached._keys(calls)).values():
            assert cached.teacher.read(answer.raw).text
        store.close()


def _honest(body: Any) -> Any:
    """Return a body whose token counts are at most the maximum of the call."""
    usage = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(usage, dict):
        return body
    most = {"prompt_tokens": 11, "completion_tokens": 9}
    low = {
        name: min(count, most[name]) if name in most and isinstance(count, int | float) else count
        for name, count in usage.items()
    }
    return {**body, "usage": low}
