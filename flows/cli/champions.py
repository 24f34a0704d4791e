"""The commands about registered models: ask, promote, roll back."""

from typing import Annotated

import typer

from flows.cli.app import console, end, prefect

Number = Annotated[int | None, typer.Option("--version", help="A version; the challenger when none is given.")]
ForceReason = Annotated[str | None, typer.Option("--force", help="Promote whatever the gate says, for this reason.")]
Reason = Annotated[str, typer.Option(help="Kept with the decision.")]
Question = Annotated[str, typer.Argument(help="What to ask the champion.")]


def ask(question: Question) -> None:
    """Ask the champion a question."""
    from pipelines import registry

    console.print(registry.ask(question), markup=False, highlight=False)


def promote(version: Number = None, force: ForceReason = None) -> None:
    """Hold a version against the gate again, and make it champion when it passes, or by force."""
    from pipelines import config

    settings = config.load()
    with prefect() as ready:
        from flows.promote import promote

        ready()
        chosen, refusal = promote(version, settings, force)
    if refusal:
        end(f"Version {chosen.number} is not promoted: {refusal}", 2)
    console.print(f"Version {chosen.number} is champion.", highlight=False)


def rollback(reason: Reason = "no reason given") -> None:
    """Make the previous champion champion again."""
    with prefect() as ready:
        from flows.promote import rollback

        ready()
        console.print(f"Version {rollback(reason).number} is champion again.", highlight=False)
