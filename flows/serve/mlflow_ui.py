"""MLflow's web interface for the project's store, on this machine only. Standalone: gradus ui"""

import os
import sys
import webbrowser

from rich.console import Console

from flows.run.process import LOGS, Program
from flows.serve.prefect_server import HOST, Server, announce_page, check_free
from pipelines.models.release import registry
from pipelines.runtime import store_location, tracking_store

QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Environment of the MLflow server: disables the job runner, which is not used."""


def remote() -> str | None:
    """Return the address of the MLflow server that MLFLOW_TRACKING_URI names, if it names one."""
    address = tracking_store.address()
    return address if address.startswith("http") else None


def mlflow_command(port: int) -> list[str]:
    """Return the arguments of `python -m` that serve the project's store."""
    files = store_location.FILES.resolve().as_uri()
    command = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    return [*command, "--backend-store-uri", tracking_store.address(), "--artifacts-destination", files]


def pages(server: str) -> tuple[str, str]:
    """Return the addresses of the project's runs and models in MLflow."""
    experiment = tracking_store.experiment(tracking_store.client())
    return f"{server}/#/experiments/{experiment}/runs", f"{server}/#/models/{registry.NAME}"


def _has_display() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def serve(console: Console, port: int) -> None:
    """Serve MLflow until Ctrl-C; print the pages of the server that MLFLOW_TRACKING_URI names, if it names one.

    Raises:
        UserError: the port is taken, or MLflow does not start or answer.
    """
    if address := remote():
        Server(address, None, store_location.GIVEN).wait("/health")
        _open(console, address)
        return
    check_free(port)
    program = Program([sys.executable, "-m", *mlflow_command(port)], LOGS / "ui.log", QUIET)
    try:
        address = f"http://{HOST}:{port}"
        Server(address, program).wait("/health")
        announce_page("MLflow", address)
        _open(console, address)
        console.print("(press Ctrl-C to stop)", highlight=False)
        program.wait()
    except KeyboardInterrupt:
        console.print("MLflow was stopped.")
    finally:
        program.stop()


def _open(console: Console, address: str) -> None:
    """Print the pages of the project's runs and models, and open the former in a browser, if there is one."""
    runs, models = pages(address)
    console.print(f"Runs:   {runs}\nModels: {models}", highlight=False, soft_wrap=True)
    if console.is_terminal and _has_display():
        webbrowser.open(runs)
