"""The commands about data: what comes in, what goes out, what is labelled."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.app import Port, console

FETCHED = Path("data/fetched")
PAIRS = Path("artifacts/preferences/train.jsonl")


def export(
    name: Annotated[str, typer.Argument(metavar="SET", help="curate or preferences.")],
    to: Annotated[Path, typer.Option(help="A new or empty folder.")],
    form: Annotated[str, typer.Option("--format", help="trl, sharegpt, alpaca or llama2.")] = "trl",
    kind: Annotated[str, typer.Option("--as", help="jsonl or parquet.")] = "jsonl",
    license_: Annotated[str, typer.Option("--license", help="Of the documents, for the dataset card.")] = "unknown",
    licenses: Annotated[Path | None, typer.Option(help="JSON: licences by patterns of document names.")] = None,
) -> None:
    """Write a data set for others, with a dataset card."""
    from flows.commands.export import export

    export(console, name, form, to, kind, license_, licenses)


def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, JSON, Parquet, or a folder of them.")],
    to: Annotated[
        Path | None,
        typer.Option(help="A folder; else that of curate.user_data, or for pairs human/ of preferences.inputs."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="auto, trl, sharegpt, alpaca or llama2.")] = "auto",
) -> None:
    """Take in conversations, or pairs of answers, of one's own, to be trained on with the others."""
    from flows.commands.import_data import import_

    import_(console, source, form, to)


def label(
    source: Annotated[Path, typer.Option("--from", help="Pairs in TRL's form.")] = PAIRS,
    port: Port = 5050,
) -> None:
    """Choose the better of two answers on a local page; `preferences` can learn from the choices."""
    from flows.serve.label import serve
    from pipelines import config

    serve(console, source, config.load().preferences.human, port)


def calls() -> None:
    """Show what the teachers were asked, what was kept, what failed, and what it cost."""
    from flows.commands.llm_calls import show

    show(console)


def fetch(
    pages: Annotated[Path, typer.Argument(metavar="LIST", help="A file of addresses, one a line.")],
    into: Annotated[Path, typer.Option(help="The folder of the web archive.")] = FETCHED,
    delay: Annotated[float, typer.Option(help="Seconds between two questions to one host.")] = 1.0,
    refresh: Annotated[bool, typer.Option(help="Ask again for what was fetched before.")] = False,
    allow_private: Annotated[bool, typer.Option(help="Ask machines of one's own network, too.")] = False,
) -> None:
    """Fetch pages of the web, politely, as documents that DVC keeps."""
    from flows.commands.fetch import fetch_list
    from pipelines import config

    if not fetch_list(pages, into, delay, refresh, allow_private, config.load().ingest):
        raise typer.Exit(1)
