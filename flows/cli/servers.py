"""The commands that serve until Ctrl-C."""

from typing import Annotated

import typer

from flows.cli.app import Port, console

PrefectPort = Annotated[int, typer.Option(help="Port of the Prefect server on 127.0.0.1.")]


def up(prefect_port: PrefectPort = 4200, port: Port = 5000) -> None:
    """Start the Prefect and MLflow servers and a worker, with the schedules of prefect.yaml, until Ctrl-C."""
    from flows.up import up

    try:
        up(console, prefect_port, port)
    except KeyboardInterrupt:
        console.print("All servers have ended.")


def ui(port: Port = 5000) -> None:
    """Open MLflow: runs, comparisons and models, until Ctrl-C."""
    from flows.ui import serve

    serve(console, port)
