"""MLflow's own pages over the project's store, on this machine alone. Alone: gradus ui"""

import sys

from rich.console import Console

from flows.process import LOGS, Program
from flows.server import HOST, Server, check_free
from pipelines import store_location, tracking

QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""The environment of an MLflow server: without the job runner, which nothing here uses."""


def mlflow_command(port: int) -> list[str]:
    """Return what follows `python -m` to serve the project's store."""
    files = store_location.FILES.resolve().as_uri()
    command = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    return [*command, "--backend-store-uri", tracking.address(), "--artifacts-destination", files]


def serve(console: Console, port: int) -> None:
    """Serve MLflow until Ctrl-C.

    Raises:
        UserError: the port is taken, or MLflow does not start.
    """
    check_free(port)
    program = Program([sys.executable, "-m", *mlflow_command(port)], LOGS / "ui.log", QUIET)
    try:
        here = f"http://{HOST}:{port}"
        Server(here, program).wait("/health")
        console.print(f"MLflow: {here} (Ctrl-C ends it)", highlight=False)
        program.wait()
    except KeyboardInterrupt:
        console.print("MLflow has ended.")
    finally:
        program.stop()
