"""MLflow's own pages over the project's store, on this machine alone. Alone: gradus ui"""

import socket
import sys

from rich.console import Console

from flows.process import LOGS, Program
from flows.server import Server
from pipelines import tracking
from pipelines.errors import UserError

HOST = "127.0.0.1"


def serve(console: Console, port: int) -> None:
    """Serve MLflow until Ctrl-C.

    Raises:
        UserError: the port is taken, or MLflow does not start.
    """
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise UserError(f"Port {port} is taken; choose another one with --port.")
    files = (tracking.STORE / "artifacts").resolve().as_uri()
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", tracking.address(), "--artifacts-destination", files]
    program = Program(command, LOGS / "ui.log", {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    try:
        here = f"http://{HOST}:{port}"
        Server(here, program).wait("/health")
        console.print(f"MLflow: {here} (Ctrl-C ends it)", highlight=False)
        program.wait()
    except KeyboardInterrupt:
        console.print("MLflow has ended.")
    finally:
        program.stop()
