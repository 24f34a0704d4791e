"""A Prefect server that lives as long as one command, unless there is one already: PREFECT_API_URL's, or `gradus up`'s.

Prefect's own ephemeral server would do, but importing it costs the flow's process four seconds, and its last
words end up on the terminal. This one starts while the flow's libraries are still being imported.
"""

import os
import socket
import sqlite3
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from flows.run.process import LOGS, Program
from pipelines import artifacts
from pipelines.runtime import liveness
from pipelines.runtime.errors import UserError

ADDRESS = "PREFECT_API_URL"
HOST = "127.0.0.1"
ANNOUNCED = Path(".gradus/served.json")
PAGES = Path(".gradus/pages")
DATABASE = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
ELSEWHERE = "PREFECT_API_DATABASE_CONNECTION_URL"
NOTIFY = "gradus_notify"
"""The variable of Prefect that names the block through which messages are sent (flows/serve/notify.py)."""
PATIENCE = 120.0  # seconds; a first start creates the database


def announce(address: str) -> None:
    """Tell the other commands in this project that this process serves Prefect at `address`."""
    artifacts.write_json(ANNOUNCED, {"address": address, "mark": str(liveness.lease())})


def announced() -> str | None:
    """Return the address at which another command serves Prefect for this project, while it lives."""
    if not ANNOUNCED.exists():
        return None
    told = artifacts.read_json(ANNOUNCED)
    return str(told["address"]) if liveness.is_held(Path(told["mark"])) else None


def announce_page(name: str, address: str) -> None:
    """Tell `gradus status` that this process, while it lives, serves the pages `name` at `address`."""
    artifacts.write_json(PAGES / f"{name}.json", {"address": address, "mark": str(liveness.lease())})


def pages() -> dict[str, str]:
    """Return the addresses of the pages that living processes serve for this project, by name."""
    told = {path.stem: artifacts.read_json(path) for path in sorted(PAGES.glob("*.json"))}
    return {name: str(page["address"]) for name, page in told.items() if liveness.is_held(Path(page["mark"]))}


def notifies() -> bool:
    """Tell, without a server, whether messages are sent to anybody, or may be: a database elsewhere is not asked."""
    if os.environ.get(ELSEWHERE):
        return True
    if not DATABASE.exists():
        return False
    try:
        with closing(sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)) as database:
            return database.execute("select 1 from variable where name = ?", (NOTIFY,)).fetchone() is not None
    except sqlite3.Error:  # a server will say what is wrong with it
        return True


@contextmanager
def server() -> Iterator["Server"]:
    """Start a server, and end it at the end. Prefect must not be imported before this is entered."""
    if address := os.environ.get(ADDRESS) or announced():
        os.environ[ADDRESS] = address
        yield Server(address, None)
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
        HOST,
        "--port",
        str(port),
    ]
    program = Program(command, LOGS / "prefect.log", {})
    os.environ[ADDRESS] = f"http://{HOST}:{port}/api"
    try:
        yield Server(os.environ[ADDRESS], program)
    finally:
        del os.environ[ADDRESS]
        program.stop()


class Server:
    """A web server that may still be starting."""

    def __init__(self, address: str, program: Program | None) -> None:
        """It will answer at `address`; `program` is None when it is another's."""
        self.address, self.program = address, program

    def wait(self, path: str) -> None:
        """Wait until it answers at `path`.

        Raises:
            UserError: it does not, or its program has ended.
        """
        end = time.monotonic() + (PATIENCE if self.program else 5.0)
        while time.monotonic() < end and (self.program is None or self.program.process.poll() is None):
            try:
                with urllib.request.urlopen(self.address + path, timeout=PATIENCE):
                    return
            except OSError:
                time.sleep(0.1)
        hint = f"{self.program.log.name} says why" if self.program else f"{ADDRESS} names it"
        raise UserError(f"The server {self.address} does not answer; {hint}.")


def check_free(port: int, option: str = "--port") -> None:
    """Raise a UserError, which names the `option` to choose another one by, when something listens on `port`."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) != 0:
            return
    ours = [f", by this project's {name}" for name, address in pages().items() if f":{port}" in address]
    raise UserError(f"Port {port} is taken{''.join(ours)}; choose another one with {option}.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
