"""The command `gradus`: run, status, ui, ask.

What the user can mend ends with one sentence and exit code 2, a stopped run with 130, a crashed stage with 1.
Prefect, MLflow and torch take seconds to import, so each command imports what it needs: `--help` stays quick.
"""

import signal
import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from flows.failures import StageError
from pipelines.errors import UserError

app = typer.Typer(
    help="From a folder of documents to a language model that knows them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

Stages = Annotated[
    list[str] | None, typer.Argument(help="Only these stages and what they need; all when none is named.")
]
Force = Annotated[bool, typer.Option("--force", help="Run them even when nothing changed.")]
Port = Annotated[int, typer.Option(help="Port on 127.0.0.1.")]
Question = Annotated[str, typer.Argument(help="What to ask the champion.")]


def _version(wanted: bool) -> None:
    if wanted:
        console.print(version("gradus"))
        raise typer.Exit


@app.callback()
def gradus(
    shown: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """From a folder of documents to a language model that knows them."""


@app.command()
def run(stages: Stages = None, force: Force = False) -> None:
    """Run the pipeline: what changed runs, the best model is registered and, when good enough, promoted."""
    from flows.preflight import check
    from flows.process import end_orphans
    from flows.server import server

    settings = check()
    end_orphans()  # a server among them would hold Prefect's database
    try:
        with server() as prefect:
            from flows.post_train import FINAL, post_train
            from flows.report import show

            prefect.wait("/health")
            promotion = post_train(settings, console, stages or [FINAL], force)
    except KeyboardInterrupt:
        _end("Stopped. What was finished stays; `gradus run` goes on from there.", 130)
    except StageError as failure:
        _end(f"{failure.stage}: {failure}", 2 if failure.user else 1)
    if promotion is not None:
        show(console, promotion)


@app.command()
def status() -> None:
    """Show which stages are up to date, which changed, and why."""
    from flows import graph, ledger

    stages = graph.read()
    changed = ledger.changes(stages)
    waiting = stages.after(changed)
    table = Table("stage", "state", "why", box=None, header_style="bold")
    for stage in stages:
        why = changed.get(stage.name, "")
        state = (
            "never ran"
            if why == "never ran"
            else "changed"
            if why
            else "follows"
            if stage.name in waiting
            else "up to date"
        )
        table.add_row(stage.name, state, {"never ran": "", "": ""}.get(why, why))
    console.print(table)


@app.command()
def ui(port: Port = 5000) -> None:
    """Open MLflow: runs, comparisons and models, until Ctrl-C."""
    from flows.ui import serve

    serve(console, port)


@app.command()
def ask(question: Question) -> None:
    """Ask the champion a question."""
    from pipelines import registry

    console.print(registry.ask(question), markup=False, highlight=False)


def main() -> None:
    """Run the command, and turn what the user can mend into a sentence and exit code 2."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # they too leave time to end what was started
    try:
        app()
    except UserError as error:
        _end(str(error), 2)


def _end(sentence: str, status: int) -> NoReturn:
    Console(stderr=True).print(sentence, style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
