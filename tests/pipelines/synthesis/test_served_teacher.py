"""A served teacher: chats answered in order, faults that pass survived, and one sentence for those that do not."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipelines.errors import UserError
from pipelines.synthesis.teacher import ServedTeacher


class Server(ThreadingHTTPServer):
    """An OpenAI-compatible server that says back what it was asked; `faults` are the statuses it begins with."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[int] = []
        self.listing = 200
        self.asked: list[dict[str, object]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._reply(self.server.listing, {"object": "list", "data": []})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        if self.server.faults:
            self._reply(self.server.faults.pop(), {"error": {"message": "out of order"}})
            return
        message = {"role": "assistant", "content": f" {asked['messages'][0]['content']}! "}
        self._reply(200, {"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": message}]})

    def _reply(self, status: int, body: dict[str, object]) -> None:
        sent = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def ask(teacher: ServedTeacher, questions: list[str], temperature: float | None = None) -> list[str]:
    chats = [[{"role": "user", "content": question}] for question in questions]
    return teacher.answer(chats, max_new_tokens=9, temperature=temperature, what="asking")


def test_every_chat_is_answered_in_its_place(server: Server) -> None:
    questions = [f"question {number}" for number in range(40)]
    assert ask(ServedTeacher(server.url, "wise", seed=3), questions) == [f"{question}!" for question in questions]
    assert {asked["model"] for asked in server.asked} == {"wise"}
    assert sorted(asked["seed"] for asked in server.asked) == list(range(3, 43))
    assert {(asked["max_tokens"], asked["temperature"]) for asked in server.asked} == {(9, 0.0)}


def test_a_fault_that_passes_is_survived(server: Server) -> None:
    server.faults = [500, 429]
    assert ask(ServedTeacher(server.url, "wise", seed=0), ["one", "two"]) == ["one!", "two!"]
    assert len(server.asked) == 4


def test_a_fault_that_stays_is_told_in_one_sentence(server: Server) -> None:
    server.faults = [400]
    with pytest.raises(UserError, match=r"The teacher at http://127\.0\.0\.1:\d+/v1 failed: .*out of order"):
        ask(ServedTeacher(server.url, "wise", seed=0), ["one"])


def test_a_refused_key_is_told_without_the_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.listing = 401
    with pytest.raises(UserError, match="refuses the key") as caught:
        ServedTeacher(server.url, "wise", seed=0)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("status", [404, 403])
def test_a_server_that_lists_no_models_can_still_chat(server: Server, status: int) -> None:
    server.listing = status
    assert ask(ServedTeacher(server.url, "wise", seed=0), ["one"]) == ["one!"]


def test_nobody_there_is_found_before_any_question_is_asked() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="does not answer; start it"):
        ServedTeacher(f"http://127.0.0.1:{port}/v1", "wise", seed=0)
