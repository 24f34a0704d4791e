"""The command that makes a project one's own."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import running
from flows.cli.app import console


def init(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Your documents.")]) -> None:
    """Start from a folder of your own documents: have DVC keep it, name it in params.yaml, show what is in it."""
    from flows.commands.init import init, show

    init(console, folder)
    running.run(["data_report"])
    show(console)
