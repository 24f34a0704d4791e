"""Commands for data: export, import, label, questions, calls, fetch."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.app import Port, console

FETCHED = Path("data/fetched")


def export(
    name: Annotated[str, typer.Argument(metavar="SET", help="Data set: curate, or pairs/<row> such as pairs/first.")],
    to: Annotated[Path, typer.Option(help="Output folder; must be new or empty.")],
    form: Annotated[str, typer.Option("--format", help="Row format: trl, sharegpt, alpaca or llama2.")] = "trl",
    kind: Annotated[str, typer.Option("--as", help="File type: jsonl or parquet.")] = "jsonl",
    license_: Annotated[
        str, typer.Option("--license", help="License of the documents, for the dataset card.")
    ] = "unknown",
    licenses: Annotated[
        Path | None, typer.Option(help="JSON file that maps patterns of document names to licenses.")
    ] = None,
) -> None:
    """Export a data set with a dataset card."""
    from flows.commands.export import export

    export(console, name, form, to, kind, license_, licenses)


def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, JSON, Parquet, or a folder of them.")],
    to: Annotated[
        Path | None,
        typer.Option(help="Output folder; by default curate.user_data, or human/ in pairs.inputs for pairs."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="auto, trl, sharegpt, alpaca or llama2.")] = "auto",
) -> None:
    """Import your own conversations or preference pairs as training data."""
    from flows.commands.import_data import import_

    import_(console, source, form, to)


def label(
    source: Annotated[
        Path | None, typer.Option("--from", help="Preference pairs in TRL's format; by default those of the first row.")
    ] = None,
    port: Port = 5050,
) -> None:
    """Choose the better of two answers on a local page; a row of `alignment.pairs` can use the choices."""
    from flows.serve.label import serve
    from pipelines import config

    settings = config.load()
    first = next(iter(settings.alignment.pairs), "first")
    serve(console, source or Path(f"artifacts/pairs/{first}/train.jsonl"), settings.pairs.human, port)


def questions(
    most: Annotated[int, typer.Option("--max", min=1, help="Maximum number of drafts.")] = 300,
    port: Port = 5051,
    status: Annotated[bool, typer.Option("--status", help="Only print how many there are and are needed.")] = False,
) -> None:
    """Draft evaluation questions about your documents, and accept, edit or reject them on a local page."""
    from flows.serve import questions
    from pipelines import config

    settings = config.load()
    if status:
        questions.show(console, settings)
        return
    from flows.serve.drafting import draft

    draft(settings, most)
    questions.serve(console, port, settings)


def calls() -> None:
    """Show the LLM calls to teacher models: answers, cache hits, failures and cost."""
    from flows.commands.llm_calls import show

    show(console)


def fetch(
    pages: Annotated[Path, typer.Argument(metavar="LIST", help="File with one URL per line.")],
    into: Annotated[Path, typer.Option(help="Folder for the web archive.")] = FETCHED,
    delay: Annotated[float, typer.Option(help="Seconds between two requests to one host.")] = 1.0,
    refresh: Annotated[bool, typer.Option(help="Fetch pages again that were fetched before.")] = False,
    allow_private: Annotated[bool, typer.Option(help="Also fetch from private network addresses.")] = False,
) -> None:
    """Fetch web pages as documents tracked by DVC, respecting robots.txt and rate limits."""
    from flows.commands.fetch import fetch_list
    from pipelines import config

    if not fetch_list(pages, into, delay, refresh, allow_private, config.load().ingest):
        raise typer.Exit(1)
