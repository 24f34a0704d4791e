"""A chat server on this machine."""

import threading
from collections.abc import Iterator

import pytest

from tests.support.chat_server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    """An OpenAI-compatible server, stopped after the test."""
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()
