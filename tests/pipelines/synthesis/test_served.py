"""A served teacher: answers in their places, faults that pass survived, others told; nothing paid is paid twice."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.config import PriceBlock, ServedModel
from pipelines.errors import UserError
from pipelines.synthesis.calls import Call, Reply
from pipelines.synthesis.served import Budget, ServedTeacher
from pipelines.synthesis.store import Store
from pipelines.synthesis.teacher import Kept
from tests.pipelines.synthesis import stub
from tests.pipelines.synthesis.stub import Fault, Server

TRIES = 3
PRICE = PriceBlock(prompt=100_000.0, completion=200_000.0)  # a call of the stub costs 1 + 1


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, few tries: how long and how many is no behaviour to test."""
    monkeypatch.setattr("pipelines.synthesis.served._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("pipelines.synthesis.served._TRIES", TRIES)


def model(server: Server, **changes: object) -> ServedModel:
    values = {"kind": "openai", "url": server.url, "model": "wise", "revision": None, "key": None, "at_once": 16}
    more = {"timeout_s": 1.0, "context_tokens": None, "structured": "json_schema", "price": None}
    return ServedModel.model_validate({**values, **more, **changes})


def kept(server: Server, folder: Path, budget: float | None = None, **changes: object) -> Kept:
    config = model(server, **changes)
    return Kept(ServedTeacher(config, 3, Budget(budget)), Store(folder / "calls.db"), "wise", "1", 3)


def calls(count: int, **changes: object) -> list[Call]:
    return [Call([{"role": "user", "content": f"question {at}"}], 9, **changes) for at in range(count)]  # type: ignore[arg-type]


def test_every_call_is_answered_in_its_place_with_what_decides_it(server: Server, tmp_path: Path) -> None:
    replies = kept(server, tmp_path).ask(calls(40), "asking")
    assert replies == [Reply(f"question {at}!") for at in range(40)]
    assert {(asked["model"], asked["max_tokens"], asked["temperature"]) for asked in server.asked} == {("wise", 9, 0.0)}
    assert {asked["seed"] for asked in server.asked} == {3}
    assert len({headers["idempotency-key"] for headers in server.headers}) == 40


def test_what_is_kept_is_not_asked_again_whatever_is_asked_beside_it(server: Server, tmp_path: Path) -> None:
    kept(server, tmp_path).ask(calls(10), "asking")
    again = kept(server, tmp_path)
    assert again.ask(calls(25), "asking")[:10] == [Reply(f"question {at}!") for at in range(10)]
    assert len(server.asked) == 25
    assert (again.counts["kept"], again.counts["paid"]) == (10, 15)


def test_equal_calls_are_asked_once(server: Server, tmp_path: Path) -> None:
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
def test_a_fault_that_passes_is_survived(server: Server, tmp_path: Path, name: str) -> None:
    server.faults = [FAULTS[name][0]]
    assert kept(server, tmp_path).ask(calls(2), "asking") == [Reply("question 0!"), Reply("question 1!")]
    assert len(server.asked) == 3


@pytest.mark.parametrize("name", sorted(FAULTS.keys() - {"hang"}))
def test_a_fault_that_stays_is_one_calls_reason_and_not_the_others(server: Server, tmp_path: Path, name: str) -> None:
    people = kept(server, tmp_path, at_once=1)
    people.ask(calls(1), "asking")
    server.faults = [FAULTS[name][0]] * TRIES
    replies = people.ask(calls(3), "asking")
    assert replies == [Reply("question 0!"), Reply(None, FAULTS[name][1]), Reply("question 2!")]
    assert people.store.summary()[0].failures == {FAULTS[name][1]: 1}
    assert people.ask(calls(3), "asking")[1] == Reply("question 1!")  # a failure answers no later call


def test_a_server_that_fails_every_call_is_told_in_one_sentence(server: Server, tmp_path: Path) -> None:
    server.faults = [stub.HTML] * 500
    with pytest.raises(UserError, match=r"failed the first \d+ calls, at last with: no_completion; .*serves wise"):
        kept(server, tmp_path, at_once=4).ask(calls(30), "asking")


def test_what_was_paid_before_the_end_is_kept(server: Server, tmp_path: Path) -> None:
    kept(server, tmp_path).ask(calls(3), "asking")
    server.faults = [stub.status(401, "Incorrect API key: sk-sec**")] * 20
    with pytest.raises(UserError, match="refuses the key; set one") as caught:
        kept(server, tmp_path).ask(calls(20), "asking")
    assert "sk-" not in str(caught.value)
    assert kept(server, tmp_path).ask(calls(3), "asking") == [Reply(f"question {at}!") for at in range(3)]


def test_a_cut_answer_and_a_filtered_one_are_kept_with_their_reason(server: Server, tmp_path: Path) -> None:
    people = kept(server, tmp_path, at_once=1)
    server.faults = [stub.body(stub.completion("ha", "length")), stub.body(stub.completion("", "content_filter"))]
    assert people.ask(calls(2), "asking") == [Reply(None, "cut_off"), Reply(None, "filtered")]
    assert people.ask(calls(2), "asking") == [Reply(None, "cut_off"), Reply(None, "filtered")]
    assert len(server.asked) == 2


def test_a_prompt_too_long_is_told_before_or_by_the_server(server: Server, tmp_path: Path) -> None:
    long = Call([{"role": "user", "content": "long " * 100}], 9)
    assert kept(server, tmp_path, context_tokens=100).ask([long], "a") == [Reply(None, "too_long_for_context")]
    assert not server.asked
    server.faults = [stub.status(400, "This model's maximum context length is 99 tokens")]
    assert kept(server, tmp_path, at_once=1).ask([long, *calls(1)], "a")[0] == Reply(None, "too_long_for_context")


def test_json_is_asked_for_as_the_server_can(server: Server, tmp_path: Path) -> None:
    asked = calls(1, schema={"type": "object"})
    for structured, wanted in (("json_schema", "json_schema"), ("json_object", "json_object"), ("none", None)):
        kept(server, tmp_path / structured, structured=structured).ask(asked, "asking")
        assert (server.asked[-1].get("response_format") or {}).get("type") == wanted


def test_the_budget_stops_cleanly(server: Server, tmp_path: Path) -> None:
    people = kept(server, tmp_path, budget=10.0, price=PRICE)
    replies = people.ask(calls(30), "asking")
    paid = [reply for reply in replies if reply.text]
    assert len(paid) == len(server.asked) == 4  # another could cost 2.8
    assert {reply.failure for reply in replies if not reply.text} == {"budget"}
    assert people.cost == 8.0
    richer = kept(server, tmp_path, budget=1000.0, price=PRICE)
    assert all(reply.text for reply in richer.ask(calls(30), "asking"))
    assert len(server.asked) == 30


def test_a_refused_key_is_told_without_the_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    server.listing = 401
    with pytest.raises(UserError, match="refuses the key; set MY_KEY") as caught:
        ServedTeacher(model(server, key="MY_KEY"), 0, Budget(None))
    assert "sk-secret" not in str(caught.value)
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UserError, match="needs a key; set MY_KEY"):
        ServedTeacher(model(server, key="MY_KEY"), 0, Budget(None))


@pytest.mark.parametrize("status", [404, 403])
def test_a_server_that_lists_no_models_can_still_chat(server: Server, tmp_path: Path, status: int) -> None:
    server.listing = status
    assert kept(server, tmp_path).ask(calls(1), "asking") == [Reply("question 0!")]


def test_nobody_there_is_found_before_any_question_is_asked(server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="does not answer; start it"):
        ServedTeacher(model(server, url=f"http://127.0.0.1:{port}/v1"), 0, Budget(None))


def test_the_answer_is_kept_as_it_came(server: Server, tmp_path: Path) -> None:
    people = kept(server, tmp_path)
    people.ask(calls(1), "asking")
    (answer,) = people.store.find(people._keys(calls(1))).values()
    assert json.loads(answer.raw)["usage"]["prompt_tokens"] == 10
