"""A Prefect server that lives as long as one command, unless PREFECT_API_URL names one that is there already.

Prefect's own ephemeral server would do, but importing it costs the flow's process four seconds, and its last
words end up on the terminal. This one starts while the flow's libraries are still being imported.
"""

import os
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from flows.process import LOGS, Program

ADDRESS = "PREFECT_API_URL"
PATIENCE = 120.0  # seconds; its first start creates the database


@contextmanager
def server() -> Iterator[None]:
    """Start a server, and end it at the end. Prefect must not be imported before this is entered."""
    if os.environ.get(ADDRESS):
        yield
        return
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--no-ui",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    program = Program(command, LOGS / "prefect.log", {})
    os.environ[ADDRESS] = f"http://127.0.0.1:{port}/api"
    try:
        yield
    finally:
        del os.environ[ADDRESS]
        program.stop()


def await_server() -> None:
    """Wait until the server answers.

    Raises:
        RuntimeError: it does not.
    """
    address = f"{os.environ[ADDRESS]}/health"
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"Prefect does not answer at {address}; {LOGS / 'prefect.log'} may say why")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
