"""The command `gradus`, and how it ends.

What the user can mend ends with one sentence and exit code 2, a stopped run with 130, a crashed stage with 1.
Prefect, MLflow and torch take seconds to import, so each command imports what it needs: `--help` stays quick.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from flows.failures import StageError
from pipelines.encoding import encodable
from pipelines.errors import UserError

app = typer.Typer(
    help="From a folder of documents to a language model that knows them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
FETCHED = Path("data/fetched")
PAIRS = Path("artifacts/preferences/train.jsonl")

Stages = Annotated[
    list[str] | None, typer.Argument(help="Only these stages and what they need; all when none is named.")
]
Revision = Annotated[
    str | None, typer.Option("--rev", help="Run this commit, in a worktree; the result goes to the branch runs/ID.")
]
NoPromote = Annotated[bool, typer.Option("--no-promote", help="Register and promote nothing.")]
Number = Annotated[int | None, typer.Option("--version", help="A version; the challenger when none is given.")]
ForceReason = Annotated[str | None, typer.Option("--force", help="Promote whatever the gate says, for this reason.")]
Reason = Annotated[str, typer.Option(help="Kept with the decision.")]
Commit = Annotated[str, typer.Argument(help="A commit with a dvc.lock, such as a branch runs/ID.")]
Recompute = Annotated[bool, typer.Option("--recompute", help="Run every stage again instead of restoring.")]
Tolerance = Annotated[float, typer.Option(help="How far measures may differ where bytes do, relative.")]
Yes = Annotated[bool, typer.Option("--yes", help="Free it without asking.")]
Force = Annotated[bool, typer.Option("--force", help="Run them even when nothing changed.")]
Port = Annotated[int, typer.Option(help="Port on 127.0.0.1.")]
PrefectPort = Annotated[int, typer.Option(help="Port of the Prefect server on 127.0.0.1.")]
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
    from flows.folder import check_place

    check_place()


@app.command()
def run(stages: Stages = None, force: Force = False, rev: Revision = None, no_promote: NoPromote = False) -> None:
    """Run the pipeline: what changed runs, the best model is registered and, when good enough, promoted."""
    if rev is not None:
        from flows import pinned

        sys.exit(pinned.run(console, rev, stages or [], force, no_promote))
    from flows.preflight import check
    from pipelines import alive

    settings = check()
    alive.follow_the_flow()  # in a worktree: the command that made it
    try:
        with _prefect() as ready:
            from flows.post_train import post_train
            from flows.report import show

            ready()
            promotion = post_train(settings, console, stages or [], force, not no_promote)
    except KeyboardInterrupt:
        _end("Stopped. What was finished stays; `gradus run` goes on from there.", 130)
    except StageError as failure:
        _end(f"{failure.stage}: {failure}", 2 if failure.user else 1)
    if promotion is not None:
        show(console, promotion)


@app.command()
def status() -> None:
    """Show which stages are up to date, which changed, and why."""
    from flows.folder import check_names, check_repository
    from pipelines import config

    check_repository()
    check_names(config.load().ingest.source)
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
def promote(version: Number = None, force: ForceReason = None) -> None:
    """Hold a version against the gate again, and make it champion when it passes, or by force."""
    from pipelines import config

    settings = config.load()
    with _prefect() as ready:
        from flows.promote import promote

        ready()
        chosen, refusal = promote(version, settings, force)
    if refusal:
        _end(f"Version {chosen.number} is not promoted: {refusal}", 2)
    console.print(f"Version {chosen.number} is champion.", highlight=False)


@app.command()
def rollback(reason: Reason = "no reason given") -> None:
    """Make the previous champion champion again."""
    with _prefect() as ready:
        from flows.promote import rollback

        ready()
        console.print(f"Version {rollback(reason).number} is champion again.", highlight=False)


@app.command()
def reproduce(commit: Commit, recompute: Recompute = False, tolerance: Tolerance = 0.02) -> None:
    """Restore a commit's results, or compute them again, and say of each whether it is what it was."""
    from flows.reproduce import reproduce

    if not reproduce(console, commit, recompute, tolerance):
        _end("Not every output is what it was.", 1)


@app.command()
def gc(yes: Yes = False) -> None:
    """Show what neither a commit nor the working tree needs of cache and checkpoints, and free it."""
    from flows.housekeeping import free, unneeded

    found = unneeded()
    for line in found.lines():
        console.print(line, highlight=False)
    if found and (yes or typer.confirm("Free it?")):
        free(found)


@app.command()
def up(prefect_port: PrefectPort = 4200, port: Port = 5000) -> None:
    """Start the Prefect and MLflow servers and a worker, with the schedules of prefect.yaml, until Ctrl-C."""
    from flows.up import up

    try:
        up(console, prefect_port, port)
    except KeyboardInterrupt:
        console.print("All servers have ended.")


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


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="SET", help="curate or preferences.")],
    to: Annotated[Path, typer.Option(help="A new or empty folder.")],
    form: Annotated[str, typer.Option("--format", help="trl, sharegpt, alpaca or llama2.")] = "trl",
    kind: Annotated[str, typer.Option("--as", help="jsonl or parquet.")] = "jsonl",
    license_: Annotated[str, typer.Option("--license", help="Of the documents, for the dataset card.")] = "unknown",
    licenses: Annotated[Path | None, typer.Option(help="JSON: licences by patterns of document names.")] = None,
) -> None:
    """Write a data set for others, with a dataset card."""
    from flows.exchange import export

    export(console, name, form, to, kind, license_, licenses)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, JSON, Parquet, or a folder of them.")],
    to: Annotated[
        Path | None, typer.Option(help="A folder; else that of curate.own, or for pairs of preferences.human.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="auto, trl, sharegpt, alpaca or llama2.")] = "auto",
) -> None:
    """Take in conversations, or pairs of answers, of one's own, to be trained on with the others."""
    from flows.intake import import_

    import_(console, source, form, to)


@app.command()
def label(
    source: Annotated[Path, typer.Option("--from", help="Pairs in TRL's form.")] = PAIRS,
    port: Port = 5050,
) -> None:
    """Choose the better of two answers on a local page; `preferences` can learn from the choices."""
    from flows.label import serve
    from pipelines import config

    serve(console, source, config.load().preferences.human, port)


@app.command()
def calls() -> None:
    """Show what the teachers were asked, what was kept, what failed, and what it cost."""
    from flows.calls import show

    show(console)


@app.command()
def fetch(
    pages: Annotated[Path, typer.Argument(metavar="LIST", help="A file of addresses, one a line.")],
    into: Annotated[Path, typer.Option(help="The folder of the web archive.")] = FETCHED,
    delay: Annotated[float, typer.Option(help="Seconds between two questions to one host.")] = 1.0,
    refresh: Annotated[bool, typer.Option(help="Ask again for what was fetched before.")] = False,
    allow_private: Annotated[bool, typer.Option(help="Ask machines of one's own network, too.")] = False,
) -> None:
    """Fetch pages of the web, politely, as documents that DVC keeps."""
    from flows.fetch import fetch_list
    from pipelines import config

    fetch_list(pages, into, delay, refresh, allow_private, config.load().ingest)


def main() -> None:
    """Run the command, and turn what the user can mend into a sentence and exit code 2."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # All leave time to end what was started. In a shell's background SIGINT is ignored, by all programs below too.
        signal.signal(number, signal.default_int_handler)
    try:
        app([encodable(argument) for argument in sys.argv[1:]])
    except UserError as error:
        _end(str(error), 2)
    except Exception as error:
        _end_on_outage(error)
        raise


@contextmanager
def _prefect() -> Iterator[Callable[[], None]]:
    """Start a Prefect server where there is none; yield what waits for it, to be called when all is imported."""
    from flows.process import end_orphans
    from flows.server import server

    end_orphans()  # a server among them would hold Prefect's database
    with server() as prefect:

        def ready() -> None:
            from flows import accelerator

            prefect.wait("/health")
            if prefect.program is not None:
                accelerator.offer(anew=True)  # nobody else could hold it at this server

        yield ready


def _end_on_outage(error: Exception) -> None:
    """End with a sentence when `error` came of a server that died in the middle of a run, or of a full disk."""
    import httpx

    from pipelines import outages

    if isinstance(error, httpx.TransportError):
        _say("Prefect's server died. What was finished stays; `gradus run` goes on from there.")
        os._exit(2)  # at a normal exit Prefect would try for long to reach its server
    if sentence := outages.sentence(error):
        _end(sentence, 2)


def _end(sentence: str, status: int) -> NoReturn:
    _say(sentence)
    sys.exit(status)


def _say(sentence: str) -> None:
    Console(stderr=True).print(sentence, style="red", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
