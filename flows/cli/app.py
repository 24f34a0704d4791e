"""The command's application, how it starts, and how it ends.

What the user can mend ends with one sentence and exit code 2, a stopped run with 130, a crashed stage with 1.
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

from pipelines.runtime.errors import UserError
from pipelines.text.encoding import encodable

app = typer.Typer(
    help="From a folder of documents to a language model that knows them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

Port = Annotated[int, typer.Option(help="Port on 127.0.0.1.")]


def _version(wanted: bool) -> None:
    if wanted:
        console.print(version("gradus"))
        raise typer.Exit


@app.callback()
def gradus(
    shown: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """From a folder of documents to a language model that knows them."""


def in_project(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command`, run from the project's folder wherever in it the user stands.

    The paths that the user gave are relative to where they stand; defaults are relative to the project's folder.
    """
    parameters = inspect.signature(command).parameters

    @wraps(command)
    def run(**given: Any) -> None:
        from flows.folder import check_place, enter, from_root
        from pipelines.runtime import store_location

        before = enter()
        check_place()
        if said := store_location.repair():
            Console(stderr=True).print(said, markup=False, highlight=False, soft_wrap=True)
        paths = {
            name: from_root(value, before)
            for name, value in given.items()
            if isinstance(value, Path) and value != parameters[name].default
        }
        command(**given | paths)

    return run


def main() -> None:
    """Run the command, and turn what the user can mend into a sentence and exit code 2."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # All leave time to end what was started. In a shell's background SIGINT is ignored, by all programs below too.
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
    """Start a Prefect server where there is none; yield what waits for it, to be called when all is imported."""
    from flows.run.process import end_orphans
    from flows.serve.prefect_server import server

    end_orphans()  # a server among them would hold Prefect's database
    with server() as served:

        def ready() -> None:
            from flows.run import accelerator

            served.wait("/health")
            if served.program is not None:
                accelerator.create_limit(anew=True)  # nobody else could hold it at this server

        yield ready


def _end_on_outage(error: Exception) -> None:
    """End with a sentence when `error` came of a server that died in the middle of a run, or of a full disk."""
    import httpx

    from pipelines.runtime import outages

    if isinstance(error, httpx.TransportError):
        _say("Prefect's server died. What was finished stays; `gradus run` goes on from there.")
        os._exit(2)  # at a normal exit Prefect would try for long to reach its server
    if sentence := outages.sentence(error):
        end(sentence, 2)


def end(sentence: str, status: int) -> NoReturn:
    """Say a sentence on stderr, and exit with `status`."""
    _say(sentence)
    sys.exit(status)


def _say(sentence: str) -> None:
    Console(stderr=True).print(sentence, style="red", markup=False, highlight=False, soft_wrap=True)
