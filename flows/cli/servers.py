"""Commands that run servers until Ctrl-C, and the setup of notifications."""

from typing import Annotated, Literal

import typer

from flows.cli.app import Port, console, prefect

Kind = Literal["slack", "teams", "discord", "webhook"]

PrefectPort = Annotated[int, typer.Option(min=1, max=65535, help="Port of the Prefect server on 127.0.0.1.")]


def up(prefect_port: PrefectPort = 4200, port: Port = 5000) -> None:
    """Start the Prefect and MLflow servers and a worker, with the schedules of prefect.yaml, until Ctrl-C."""
    from flows.serve.up import up

    try:
        up(console, prefect_port, port)
    except KeyboardInterrupt:
        console.print("All servers were stopped.")


def ui(port: Port = 5000) -> None:
    """Open MLflow: runs, comparisons and models, until Ctrl-C."""
    from flows.serve.mlflow_ui import serve

    serve(console, port)


def notify(
    kind: Annotated[Kind, typer.Argument(help="The kind of webhook; `webhook` takes JSON.")],
    url: Annotated[str, typer.Argument(help="Address of the webhook.")],
    test: Annotated[bool, typer.Option("--test", help="Send a test message.")] = False,
) -> None:
    """Send messages about crashed runs, new champions and rollbacks to a webhook.

    Of scheduled runs, also about failures and refused candidates.
    """
    with prefect() as ready:
        from flows.serve.heartbeat import watch
        from flows.serve.notify import set_up

        ready()
        set_up(kind, url, test=test)
        watch()
    console.print(f"Messages go to the {kind} webhook{'; a test message was sent' if test else ''}.", highlight=False)
