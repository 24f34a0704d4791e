"""An OpenAI-compatible HTTP server with configurable faults; counts the answers sent in full."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pipelines.models.messages import Message

Fault = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Echo server; `faults` apply to the first calls, one each."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, says: Callable[[list[Message]], str] = lambda asked: f"{asked[-1]['content']}!") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.says = says
        self.faults: list[Fault] = []
        self.listing, self.listed = 200, b'{"object": "list", "data": []}'
        self.takes: Callable[[dict[str, Any]], str | None] = lambda asked: None
        self.refuses = 400
        self.asked: list[dict[str, Any]] = []
        self.answered: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore disconnected clients."""


class Handler(BaseHTTPRequestHandler):
    """Handler of one connection."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send(self.server.listing, self.server.listed)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(asked)
            self.server.headers.append({name.casefold(): value for name, value in self.headers.items()})
            fault = self.server.faults.pop(0) if self.server.faults else None
        if fault is not None:
            fault(self)
            return
        if refusal := self.server.takes(asked):
            status(self.server.refuses, refusal)(self)
            return
        text = self.server.says(asked["messages"])
        self.send(200, completion(text))
        with self.server.lock:
            self.server.answered[json.dumps(asked, sort_keys=True)] += 1

    def send(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        """Send a complete response."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Do not log."""


USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def completion(text: str | None, ended: str = "stop") -> bytes:
    """Return the body of a chat completion."""
    return said(content=text, finish_reason=ended)


def said(finish_reason: Any = "stop", usage: Any = USAGE, **message: Any) -> bytes:
    """Return the body of a chat completion with any message."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return json.dumps({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def page(number: int, content: bytes) -> Fault:
    return lambda handler: handler.send(number, content)


def status(number: int, message: str = "out of order", **headers: str) -> Fault:
    return lambda handler: handler.send(number, json.dumps({"error": {"message": message}}).encode(), **headers)


def body(content: bytes, kind: str = "application/json") -> Fault:
    return lambda handler: handler.send(200, content, kind)


def hang(handler: Handler) -> None:
    """Hang for longer than any client timeout in the tests."""
    time.sleep(3)
    handler.close_connection = True


def cut(handler: Handler) -> None:
    """Drop the connection in the middle of the response."""
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def lie(handler: Handler) -> None:
    """Announce a longer body than is sent."""
    sent = completion("half")
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(sent) + 100))
    handler.end_headers()
    handler.wfile.write(sent)
    handler.close_connection = True


HTML = body(b"<html><body><h1>502 Bad Gateway</h1></body></html>", "text/html")
NO_CHOICE = body(b'{"id": "1", "object": "chat.completion", "choices": []}')
OTHER_FORMAT = body(b'{"type": "message", "content": [{"type": "text", "text": "hi"}]}')
TORN = body(b'{"choices": [{"message": {"content": "hi')
NULL = body(completion(None))
