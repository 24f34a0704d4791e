"""The Typer application: startup, error handling and exit codes.

User errors print one sentence and exit with 2; a stopped run exits with 130, a crashed stage with 1.
"""

import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from pipelines.runtime import liveness
from pipelines.runtime.errors import UserError
from pipelines.text.encoding import encodable

app = typer.Typer(
    help="Train a language model that answers questions about a folder of documents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console, stderr = Console(markup=False), Console(stderr=True, markup=False)
"""They print brackets as they are, because messages hold the user's paths and text."""

Port = Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")]


def _version(wanted: bool) -> None:
    if wanted:
        console.print(version("gradus"))
        raise typer.Exit


@app.callback()
def gradus(
    shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train a language model that answers questions about a folder of documents."""


def in_project(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` wrapped to run in the project's folder, from any working directory inside it.

    User-provided paths are relative to the original working directory; defaults are relative to the project's folder.
    """
    parameters = inspect.signature(command).parameters

    @wraps(command)
    def run(**arguments: Any) -> None:
        from flows.folder import check_place, enter, from_root
        from pipelines.runtime import store_location

        before = enter()
        check_place()
        if message := store_location.repair():
            stderr.print(message, highlight=False, soft_wrap=True)
        paths = {
            name: from_root(value, before)
            for name, value in arguments.items()
            if isinstance(value, Path) and value != parameters[name].default
        }
        command(**arguments | paths)

    return run


def main() -> None:
    """Run the command, and report an error that the user can fix as one sentence with exit code 2."""
    for number in liveness.stop_signals():
        signal.signal(number, signal.default_int_handler)
    try:
        app([encodable(argument) for argument in sys.argv[1:]])
    except UserError as error:
        end(str(error), 2)
    except Exception as error:
        _end_on_outage(error)
        raise


@contextmanager
def prefect() -> Iterator[Callable[[], None]]:
    """Start a Prefect server if none is running; yield a function that waits for it, to be called after the imports."""
    from flows.run.process import end_orphans
    from flows.serve.prefect_server import server

    end_orphans()  # an orphaned server would lock Prefect's database
    with server() as served:

        def ready() -> None:
            from flows.run import accelerator

            served.wait("/health")
            if served.program is not None:
                accelerator.create_limit(reset=True)  # no other flow can hold it on a new server

        yield ready


def _end_on_outage(error: Exception) -> None:
    """Exit with one sentence if `error` was caused by a server that died during a run, or by a full disk."""
    import httpx

    from pipelines.runtime import outages

    if isinstance(error, httpx.TransportError):
        _print("Prefect's server died. Finished stages are kept; run `gradus run` to continue.")
        os._exit(2)  # on a normal exit Prefect would keep trying to reach its server
    if sentence := outages.sentence(error):
        end(sentence, 2)


def end(sentence: str, status: int) -> NoReturn:
    """Print a sentence to stderr and exit with `status`."""
    _print(sentence)
    sys.exit(status)


def _print(sentence: str) -> None:
    stderr.print(sentence, style="red", highlight=False, soft_wrap=True)
