"""The command line interface `gradus`, with its subcommands grouped for `--help`.

Prefect, MLflow and torch take seconds to import, so each command imports what it needs and `--help` stays fast.
"""

from collections.abc import Callable

from flows.cli import champions, datasets, project, running, servers
from flows.cli.app import app, in_project, main

__all__ = ["app", "main"]

COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Runs": (
        *(running.run, running.loop, running.status, running.runs, running.compare),
        *(running.tune, running.reproduce, running.accept, running.gc),
    ),
    "Models": (
        *(champions.ask, champions.chat, champions.keep),
        *(champions.diff, champions.promote, champions.rollback),
    ),
    "Data": (
        *(project.init, project.use, datasets.fetch),
        *(datasets.import_, datasets.export, datasets.label, datasets.questions, datasets.calls),
    ),
    "Servers": (servers.ui, servers.up, servers.notify),
}
"""Commands by their panel in `gradus --help`."""

for _panel, _commands in COMMANDS.items():
    for _command in _commands:
        app.command(_command.__name__.rstrip("_"), rich_help_panel=_panel)(in_project(_command))
