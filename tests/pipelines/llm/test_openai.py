"""A served teacher: answers in order, transient errors retried, others reported, and no answer paid for twice."""

import json
import socket
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from pipelines.llm.budget import Budget
from pipelines.llm.cache import CachedModel, ResponseCache
from pipelines.llm.calls import Call, Reply
from pipelines.llm.config import PriceBlock, ServedModel
from pipelines.llm.openai import ServedTeacher
from pipelines.runtime.errors import UserError
from tests.support import chat_server as stub
from tests.support.chat_server import Fault, Server

pytestmark = pytest.mark.slow

TRIES = 3
PRICE = PriceBlock(prompt=100_000.0, completion=200_000.0)  # a call of the stub costs 1 + 1


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses and limit the attempts; their actual values are not tested."""
    monkeypatch.setattr("pipelines.llm.openai._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("pipelines.llm.openai._TRIES", TRIES)


def model(server: Server, **changes: object) -> ServedModel:
    values: dict[str, object] = {
        "kind": "openai",
        "url": server.url,
        "model": "wise",
        "revision": None,
        "key": None,
        "max_concurrency": 16,
    }
    values |= {"timeout_s": 1.0, "context_tokens": None, "structured": "json_schema", "price": None, "extra_body": {}}
    return ServedModel.model_validate({**values, **changes})


def kept(server: Server, folder: Path, budget: float | None = None, **changes: object) -> CachedModel:
    config = model(server, **changes)
    return CachedModel(ServedTeacher(config, 3, Budget(budget)), ResponseCache(folder / "calls.db"), "wise", "1", 3)


def calls(count: int, **changes: object) -> list[Call]:
    return [Call([{"role": "user", "content": f"question {at}"}], 9, **changes) for at in range(count)]  # type: ignore[arg-type]


def test_answers_are_in_order_and_requests_have_all_fields(server: Server, tmp_path: Path) -> None:
    replies = kept(server, tmp_path).ask(calls(40), "asking")
    assert replies == [Reply(f"question {at}!") for at in range(40)]
    assert {(asked["model"], asked["max_tokens"], asked["temperature"]) for asked in server.asked} == {("wise", 9, 0.0)}
    assert {asked["seed"] for asked in server.asked} == {3}
    assert len({headers["idempotency-key"] for headers in server.headers}) == 40


def test_cached_calls_are_not_repeated_in_other_batches(server: Server, tmp_path: Path) -> None:
    kept(server, tmp_path).ask(calls(10), "asking")
    again = kept(server, tmp_path)
    assert again.ask(calls(25), "asking")[:10] == [Reply(f"question {at}!") for at in range(10)]
    assert len(server.asked) == 25
    assert (again.counts["kept"], again.counts["paid"]) == (10, 15)


def test_identical_calls_are_sent_once(server: Server, tmp_path: Path) -> None:
    assert len(kept(server, tmp_path).ask(calls(1) * 5, "asking")) == 5
    assert len(server.asked) == 1


FAULTS: dict[str, tuple[Fault, str]] = {
    "429": (stub.status(429, retry_after="0.05"), "status_429"),
    "500": (stub.status(500), "status_500"),
    "hang": (stub.hang, "timeout"),
    "cut": (stub.cut, "connection"),
    "lie": (stub.lie, "connection"),
    "html": (stub.HTML, "no_completion"),
    "no choice": (stub.NO_CHOICE, "no_completion"),
    "other format": (stub.OTHER_FORMAT, "no_completion"),
    "torn": (stub.TORN, "no_completion"),
    "null": (stub.NULL, "empty_answer"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_transient_errors_are_retried(server: Server, tmp_path: Path, name: str) -> None:
    server.faults = [FAULTS[name][0]]
    assert kept(server, tmp_path).ask(calls(2), "asking") == [Reply("question 0!"), Reply("question 1!")]
    assert len(server.asked) == 3


@pytest.mark.parametrize("name", sorted(FAULTS.keys() - {"hang"}))
def test_permanent_error_fails_only_its_call(server: Server, tmp_path: Path, name: str) -> None:
    cached = kept(server, tmp_path, max_concurrency=1)
    cached.ask(calls(1), "asking")
    server.faults = [FAULTS[name][0]] * TRIES
    replies = cached.ask(calls(3), "asking")
    assert replies == [Reply("question 0!"), Reply(None, FAULTS[name][1]), Reply("question 2!")]
    assert cached.store.summary()[0].failures == {FAULTS[name][1]: 1}
    assert cached.ask(calls(3), "asking")[1] == Reply("question 1!")  # a failure answers no later call


def test_server_that_fails_every_call_raises_user_error(server: Server, tmp_path: Path) -> None:
    server.faults = [stub.HTML] * 500
    with pytest.raises(UserError, match=r"failed the first \d+ calls, last with: no_completion; .*serves wise"):
        kept(server, tmp_path, max_concurrency=4).ask(calls(30), "asking")


def test_answers_before_an_abort_are_cached(server: Server, tmp_path: Path) -> None:
    kept(server, tmp_path).ask(calls(3), "asking")
    server.faults = [stub.status(401, "Incorrect API key: sk-sec**")] * 20
    with pytest.raises(UserError, match="rejects the key; set one") as caught:
        kept(server, tmp_path).ask(calls(20), "asking")
    assert "sk-" not in str(caught.value)
    assert kept(server, tmp_path).ask(calls(3), "asking") == [Reply(f"question {at}!") for at in range(3)]


UNUSABLE: dict[str, tuple[dict[str, Any], str, int]] = {  # message and finish_reason; reason; times asked in one run
    "cut off": ({"content": "ha", "finish_reason": "length"}, "cut_off", 1),
    "cut off while thinking": ({"content": "<think>\nOkay, the", "finish_reason": "length"}, "cut_off", 1),
    "filtered": ({"content": "", "finish_reason": "content_filter"}, "filtered", 1),
    "refused": ({"content": None, "refusal": "I'm sorry."}, "filtered", 1),
    "only thinking": ({"content": None, "reasoning_content": "I think it is 1931."}, "empty_answer", 2),
    "thinking never closed": ({"content": "<think>\nI think it is 1931."}, "empty_answer", 2),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_answers_are_charged_and_never_cached(server: Server, tmp_path: Path, name: str) -> None:
    message, reason, times = UNUSABLE[name]
    cached = kept(server, tmp_path, max_concurrency=1, price=PRICE)
    cached.ask(calls(1), "asking")
    server.faults = [stub.body(stub.said(**message))] * times
    assert cached.ask(calls(2), "asking") == [Reply("question 0!"), Reply(None, reason)]
    assert (cached.cost, cached.store.summary()[0].cost) == (2.0 + 2.0 * times, 2.0 + 2.0 * times)
    assert cached.store.summary()[0].failures == {reason: 1}
    assert kept(server, tmp_path).ask(calls(2), "asking")[1] == Reply("question 1!")
    assert len(server.asked) == 2 + times


@pytest.mark.parametrize("name", ["cut off while thinking", "only thinking"])
def test_model_that_never_stops_reasoning_raises_user_error_with_remedy(
    server: Server, tmp_path: Path, name: str
) -> None:
    message, reason, times = UNUSABLE[name]
    server.faults = [stub.body(stub.said(**message))] * 500
    with pytest.raises(UserError, match=f"first 8 calls.*{reason}.*thinking model.*chat_template_kwargs.*max_tokens"):
        kept(server, tmp_path, max_concurrency=1).ask(calls(60), "asking")
    assert len(server.asked) == 8 * times


def test_repeated_failures_in_a_later_run_do_not_abort_it(server: Server, tmp_path: Path) -> None:
    cut = stub.body(stub.completion("ha", "length"))
    server.faults = [lambda handler: handler.send(200, stub.completion("yes"))] + [cut] * 20
    assert [reply.failure for reply in kept(server, tmp_path, max_concurrency=1).ask(calls(10), "asking")][1:] == [
        "cut_off"
    ] * 9
    server.faults = [cut] * 20
    again = kept(server, tmp_path, max_concurrency=1)
    assert [reply.failure for reply in again.ask(calls(10), "asking")][1:] == ["cut_off"] * 9


@pytest.mark.parametrize(
    "content",
    [
        "<think>\n\n</think>\n\nWhy?",
        "<thinking>Hm.</thinking>Why?",
        "The user wants a question.\n</think>\n\nWhy?",
        "<think>a</think>\n<think>b <think> </think>Why?",
        "[THINK]Hm.[/THINK]Why?",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Why?<|return|>",
        [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Why?"}],
    ],
)
def test_reasoning_is_removed(server: Server, tmp_path: Path, content: object) -> None:
    server.faults = [stub.body(stub.said(content=content, reasoning_content="Hm."))]
    assert kept(server, tmp_path).ask(calls(1), "asking") == [Reply("Why?")]


def test_lone_surrogate_does_not_affect_other_answers(server: Server, tmp_path: Path) -> None:
    server.faults = [stub.body(rb'{"choices": [{"message": {"content": "Opened \ud83d?"}, "finish_reason": "stop"}]}')]
    for _ in range(2):
        replies = kept(server, tmp_path, max_concurrency=1).ask(calls(3), "asking")
        assert [reply.text for reply in replies] == ["Opened \ufffd?", "question 1!", "question 2!"]
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": "3"}, {"prompt_tokens": -3, "completion_tokens": 0}, [3]]
)
def test_missing_usage_is_charged_at_the_maximum_cost(server: Server, tmp_path: Path, usage: object) -> None:
    server.faults = [stub.body(stub.said(content="Yes?", usage=usage))] * 60
    price = PriceBlock(prompt=1000.0, completion=1000.0)  # 10 or 11 bytes and 9 tokens: at most 0.02
    cached = kept(server, tmp_path, budget=0.07, price=price)
    replies = cached.ask(calls(60), "asking")
    assert len(server.asked) == sum(reply.text == "Yes?" for reply in replies) == 3
    assert sum(reply.failure == "budget" for reply in replies) == 57
    assert cached.cost == pytest.approx(
        0.057 + sum(0.001 for asked in server.asked if len(asked["messages"][0]["content"]) > 10)
    )


def test_timeouts_are_charged_and_rejections_are_not(server: Server, tmp_path: Path) -> None:
    server.faults = [stub.hang, stub.status(500)]
    cached = kept(server, tmp_path, price=PRICE, timeout_s=0.5)
    assert cached.ask(calls(1), "asking") == [Reply("question 0!")]
    assert cached.cost == pytest.approx(2.8 + 2.0)


@pytest.mark.parametrize(
    ("refusal", "field", "instead"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
            "max_tokens",
            ("max_completion_tokens", 9),
        ),
        ("Unsupported value: 'temperature' does not support 0.0 with this model.", "temperature", None),
        ("seed: Extra inputs are not permitted", "seed", None),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_unsupported_field_is_omitted_from_later_requests(
    server: Server, tmp_path: Path, status: int, refusal: str, field: str, instead: tuple[str, int] | None
) -> None:
    server.takes = lambda asked: refusal if field in asked else None
    server.refuses = status
    cached = kept(server, tmp_path, max_concurrency=1)
    assert cached.ask(calls(5), "asking") == [Reply(f"question {at}!") for at in range(5)]
    assert [field in asked for asked in server.asked] == [True, *[False] * 5]
    assert instead is None or instead in server.asked[-1].items()


def test_permanent_rejection_includes_the_servers_message(server: Server, tmp_path: Path) -> None:
    cached = kept(server, tmp_path, max_concurrency=1)
    cached.ask(calls(1), "asking")
    pages = [
        (413, b"<html><head><title>413 Request Entity Too Large</title></head></html>"),
        (422, b'{"detail": [{"loc": ["body", "messages"], "msg": "Field required"}]}'),
        (400, b'{"error": "model is busy\\nforever"}'),
        (413, b'{"message": "This is more than the maximum context length of 99 tokens."}'),
        (418, b""),
    ]
    server.faults = [stub.page(*each) for each in pages]
    assert [reply.failure for reply in cached.ask(calls(6), "asking")] == [
        None,
        "refused: 413 Request Entity Too Large",
        "refused: body.messages: Field required",
        "refused: model is busy forever",
        "too_long_for_context",
        "refused: status 418",
    ]


def test_retry_after_date_is_honoured_on_429_and_503(server: Server, tmp_path: Path) -> None:
    for status in (429, 503):
        date = formatdate(time.time() + 2, usegmt=True)
        server.faults = [stub.status(status, retry_after=date)]
        started = time.monotonic()
        kept(server, tmp_path / str(status)).ask(calls(1), "asking")
        assert time.monotonic() - started >= 0.9


def test_extra_body_is_merged_into_every_request(server: Server, tmp_path: Path) -> None:
    more = {"chat_template_kwargs": {"enable_thinking": False}, "max_tokens": 500, "seed": None}
    kept(server, tmp_path, extra_body=more).ask(calls(1), "asking")
    (asked,) = server.asked
    assert (asked["chat_template_kwargs"], asked["max_tokens"]) == ({"enable_thinking": False}, 500)
    assert "seed" not in asked
    for wrong in ({"stream": True}, {"max_tokens": None}, {"max_completion_tokens": 0}):
        with pytest.raises(ValueError, match="extra_body"):
            model(server, extra_body=wrong)


def test_too_long_prompt_fails_before_sending_or_by_the_servers_error(server: Server, tmp_path: Path) -> None:
    long = Call([{"role": "user", "content": "long " * 100}], 9)
    assert kept(server, tmp_path, context_tokens=100).ask([long], "a") == [Reply(None, "too_long_for_context")]
    assert not server.asked
    server.faults = [stub.status(400, "This model's maximum context length is 99 tokens")]
    assert kept(server, tmp_path, max_concurrency=1).ask([long, *calls(1)], "a")[0] == Reply(
        None, "too_long_for_context"
    )


def test_response_format_follows_the_servers_capability(server: Server, tmp_path: Path) -> None:
    asked = calls(1, schema={"type": "object"})
    for structured, wanted in (("json_schema", "json_schema"), ("json_object", "json_object"), ("none", None)):
        kept(server, tmp_path / structured, structured=structured).ask(asked, "asking")
        assert (server.asked[-1].get("response_format") or {}).get("type") == wanted


def test_exhausted_budget_stops_sending(server: Server, tmp_path: Path) -> None:
    cached = kept(server, tmp_path, budget=10.0, price=PRICE)
    replies = cached.ask(calls(30), "asking")
    paid = [reply for reply in replies if reply.text]
    assert len(paid) == len(server.asked) == 4  # another could cost 2.8
    assert {reply.failure for reply in replies if not reply.text} == {"budget"}
    assert cached.cost == 8.0
    richer = kept(server, tmp_path, budget=1000.0, price=PRICE)
    assert all(reply.text for reply in richer.ask(calls(30), "asking"))
    assert len(server.asked) == 30


def test_rejected_key_is_reported_without_the_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    server.listing = 401
    with pytest.raises(UserError, match="rejects the key; set MY_KEY") as caught:
        ServedTeacher(model(server, key="MY_KEY"), 0, Budget(None))
    assert "sk-secret" not in str(caught.value)
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UserError, match="needs a key; set MY_KEY"):
        ServedTeacher(model(server, key="MY_KEY"), 0, Budget(None))


@pytest.mark.parametrize("status", [404, 403])
def test_server_without_a_model_list_can_chat(server: Server, tmp_path: Path, status: int) -> None:
    server.listing = status
    assert kept(server, tmp_path).ask(calls(1), "asking") == [Reply("question 0!")]


def test_unreachable_server_is_reported_before_any_call(server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="does not answer; start it"):
        ServedTeacher(model(server, url=f"http://127.0.0.1:{port}/v1"), 0, Budget(None))


def test_raw_answer_is_cached(server: Server, tmp_path: Path) -> None:
    cached = kept(server, tmp_path)
    cached.ask(calls(1), "asking")
    (answer,) = cached.store.find(cached._keys(calls(1))).values()
    assert json.loads(answer.raw)["usage"]["prompt_tokens"] == 10
