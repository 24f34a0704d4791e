"""MLflow's own pages over the project's store, on this machine alone. Alone: gradus ui"""

import socket
import sys

from rich.console import Console

from flows.process import LOGS, Program
from pipelines import tracking
from pipelines.errors import UserError

HOST = "127.0.0.1"


def serve(console: Console, port: int) -> None:
    """Serve MLflow until Ctrl-C.

    Raises:
        UserError: the port is taken.
    """
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise UserError(f"Port {port} is taken; choose another one with --port.")
    store = tracking.address()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        store,
        "--host",
        HOST,
        "--port",
        str(port),
    ]
    artifacts = [
        "--artifacts-destination",
        (tracking.STORE / "artifacts").resolve().as_uri(),
        "--workers",
        "1",
    ]
    program = Program([*command, *artifacts], LOGS / "ui.log", {})
    console.print(f"MLflow: http://{HOST}:{port} (Ctrl-C ends it)", highlight=False)
    try:
        status = program.wait()
    except KeyboardInterrupt:
        program.stop()
        return
    raise UserError(f"MLflow ended with status {status}; {LOGS / 'ui.log'} says why.")
