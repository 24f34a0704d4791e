"""A Prefect server for the duration of one command, unless PREFECT_API_URL or `gradus up` already provides one.

Prefect's own ephemeral server takes four seconds to import in the flow's process and logs to the terminal on shutdown.
This one starts while the flow's libraries are still being imported.
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
ORIGINS = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
NOTIFY = "gradus_notify"
"""Prefect variable that names the notification block (flows/serve/notify.py)."""
RETRIES = "PREFECT_CLIENT_MAX_RETRIES"
"""Prefect's five take a minute per call, in which a service manager that stops run and server kills the run; a locked
database of this server needs fewer."""
PATIENCE = 120.0  # seconds; a first start creates the database


def announce(address: str) -> None:
    """Announce to other commands in this project that this process serves Prefect at `address`."""
    artifacts.write_json(ANNOUNCED, {"address": address, "mark": str(liveness.lease())})


def announced() -> str | None:
    """Return the address of the Prefect server that another living command runs for this project, if any."""
    if not ANNOUNCED.exists():
        return None
    content = artifacts.read_json(ANNOUNCED)
    return str(content["address"]) if liveness.is_held(Path(content["mark"])) else None


def announce_page(name: str, address: str) -> None:
    """Announce to `gradus status` that this process serves the pages `name` at `address` while it is alive."""
    artifacts.write_json(PAGES / f"{name}.json", {"address": address, "mark": str(liveness.lease())})


def pages() -> dict[str, str]:
    """Return the addresses of the pages that living processes serve for this project, by name."""
    content = {path.stem: artifacts.read_json(path) for path in sorted(PAGES.glob("*.json"))}
    return {name: str(page["address"]) for name, page in content.items() if liveness.is_held(Path(page["mark"]))}


def notifies() -> bool:
    """Return, without starting a server, whether notifications may be configured; assume so for a remote database."""
    if os.environ.get(ELSEWHERE):
        return True
    if not DATABASE.exists():
        return False
    try:
        with closing(sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)) as database:
            return database.execute("select 1 from variable where name = ?", (NOTIFY,)).fetchone() is not None
    except sqlite3.Error:  # the server will report the error
        return True


def own_pages_only(port: int) -> dict[str, str]:
    """Return the environment of a server on `port` that allows no other origin in CORS; Prefect's default allows all.

    The browser then lets other web pages neither read answers nor send requests that need a preflight, as those with
    JSON, which start programs through the worker, do. It is no authentication: other requests are executed, and Prefect
    does not check the host name, so that a page whose name resolves to this machine (DNS rebinding) counts as its own.
    """
    return {ORIGINS: f"http://{HOST}:{port},http://localhost:{port}"}


@contextmanager
def server() -> Iterator["Server"]:
    """Start a server and stop it on exit. Prefect must not be imported before this is entered."""
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
    program = Program(command, LOGS / "prefect.log", own_pages_only(port))
    os.environ[ADDRESS] = f"http://{HOST}:{port}/api"
    os.environ.setdefault(RETRIES, "3")
    try:
        yield Server(os.environ[ADDRESS], program)
    finally:
        del os.environ[ADDRESS]
        program.stop()


class Server:
    """An HTTP server that may still be starting."""

    def __init__(self, address: str, program: Program | None, setting: str = ADDRESS) -> None:
        """Keep the `address`; `program` is None when another process runs the server, to which `setting` points."""
        self.address, self.program, self.setting = address, program, setting

    def wait(self, path: str) -> None:
        """Wait until the server answers at `path`.

        Raises:
            UserError: the server does not answer in time, or its program has ended.
        """
        end = time.monotonic() + (PATIENCE if self.program else 5.0)
        while time.monotonic() < end and (self.program is None or self.program.process.poll() is None):
            try:
                with urllib.request.urlopen(self.address + path, timeout=PATIENCE):
                    return
            except OSError:
                time.sleep(0.1)
        hint = f"{self.program.log.name} shows the error" if self.program else f"{self.setting} points to it"
        raise UserError(f"The server {self.address} does not answer; {hint}.")


def check_free(port: int, option: str = "--port") -> None:
    """Raise a UserError that names the `option` for another port when `port` is in use."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) != 0:
            return
    ours = [f", by this project's {name}" for name, address in pages().items() if f":{port}" in address]
    raise UserError(f"Port {port} is taken{''.join(ours)}; choose another one with {option}.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
