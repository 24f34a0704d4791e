"""The server of local pages, under connections that a browser opens."""

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from flows.serve.label import PAGE
from flows.serve.local_page import LocalPage
from tests.support.local_page import ask


@pytest.fixture
def page() -> Iterator[LocalPage]:
    with LocalPage(PAGE, lambda: {"done": 0}, {}, 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_idle_connection_delays_no_other(page: LocalPage) -> None:
    with socket.create_connection(("127.0.0.1", page.server_port)):
        assert ask(page, "/state") == {"done": 0}


def test_secret_that_is_not_ascii_is_rejected(page: LocalPage) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", page.server_port)
    connection.putrequest("GET", "/state")
    connection.putheader("X-Secret", "é".encode())
    connection.endheaders()
    assert connection.getresponse().status == 403
