"""Command that sets up the project for user-provided documents."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import running
from flows.cli.app import console


def init(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of your documents.")]) -> None:
    """Use a folder of your own documents: track it with DVC, set it in params.yaml and summarize its content."""
    from flows.commands.init import init, show

    init(console, folder)
    running.run(["data_report"])
    show(console)


def use(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file, such as those in recipes/.")],
) -> None:
    """Apply a recipe: write its parameters into params.yaml."""
    from flows.commands.use import use

    use(console, recipe)
