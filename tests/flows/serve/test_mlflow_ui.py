"""`gradus ui` with the server that MLFLOW_TRACKING_URI names."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from rich.console import Console

from flows.serve import mlflow_ui
from pipelines.runtime.errors import UserError
from tests.flows.conftest import free_port


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_pages_of_a_given_server_are_shown_and_no_other_is_started(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setattr(mlflow_ui, "pages", lambda server: (f"{server}/runs", f"{server}/models"))
    monkeypatch.delattr(mlflow_ui, "Program")
    console = Console(record=True, width=200)
    mlflow_ui.serve(console, 5000)
    assert f"{address}/runs" in console.export_text()


def test_given_server_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UserError, match="does not answer; MLFLOW_TRACKING_URI points to it"):
        mlflow_ui.serve(Console(), 5000)
