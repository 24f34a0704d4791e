"""The commands about registered models: ask, chat, promote, roll back."""

import os
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli.app import console, end, prefect
from pipelines.runtime.errors import UserError

if TYPE_CHECKING:
    from flows.promotion.gate import Decision
    from pipelines.config import Config

Number = Annotated[int | None, typer.Option("--version", help="A version; the challenger when none is given.")]
Asked = Annotated[int | None, typer.Option("--version", help="Ask this version instead of the champion.")]
Model = Annotated[str, typer.Option(help="Ask this one of evaluate.models (params.yaml), without the registry.")]
ForceReason = Annotated[str | None, typer.Option("--force", help="Promote whatever the gate says, for this reason.")]
Reason = Annotated[str, typer.Option(help="Kept with the decision.")]
Question = Annotated[str, typer.Argument(help="What to ask.")]


def ask(question: Question, version: Asked = None, model: Model = "") -> None:
    """Ask the champion a question, or the challenger while there is no champion."""
    from flows.commands import chat
    from pipelines import config

    place, loaded = chat.load(_which(version, model), config.load())
    if place.note:
        Console(stderr=True).print(f"{place.note} {place.title} answers.", highlight=False, soft_wrap=True)
    console.print(loaded.answer([{"role": "user", "content": question}]), markup=False, highlight=False)


def chat(version: Asked = None, model: Model = "") -> None:
    """Talk with the champion, or with another model; /model changes it, /quit ends."""
    from flows.commands import chat
    from pipelines import config

    chat.chat(console, _which(version, model), config.load())


def promote(version: Number = None, force: ForceReason = None) -> None:
    """Hold a version against the gate again, and make it champion when it passes, or by force."""
    from pipelines import config

    settings = config.load()
    decision = None if _serving() else _decided(version, settings, force)
    if decision is None:
        with prefect() as ready:
            from flows.promotion.promote import promote

            ready()
            chosen, refusal = promote(version, settings, force)
        _promoted(chosen.number, refusal)
        return
    _promoted(decision.version.number, decision.refusal)
    if decision.changed and _notifies():
        with prefect() as ready:
            from flows.promotion.promote import tell_champion

            ready()
            tell_champion(decision.version)


def rollback(reason: Reason = "no reason given") -> None:
    """Make the champion before the present one champion again; once more, the one before that."""
    if _serving():
        with prefect() as ready:
            from flows.promotion.promote import rollback

            ready()
            console.print(f"Version {rollback(reason).number} is champion again.", highlight=False)
        return
    from flows.promotion import gate

    version = gate.restore(reason)
    console.print(f"Version {version.number} is champion again.", highlight=False)
    if _notifies():
        with prefect() as ready:
            from flows.promotion.promote import tell_rollback

            ready()
            tell_rollback(version, reason)


def _which(version: int | None, model: str) -> str:
    if version is not None and model:
        raise UserError("--version asks a registered version and --model one of evaluate.models; give only one.")
    return model or ("" if version is None else str(version))


def _decided(version: int | None, settings: "Config", force: str | None) -> "Decision | None":
    """Decide without a Prefect server, whose start takes seconds; None where it is needed, to evaluate models first."""
    from flows.promotion import gate

    try:
        return gate.decide(version, settings, force)
    except gate.NotMeasuredError:
        return None


def _serving() -> bool:
    """Tell whether a Prefect server runs, at which decisions show as flow runs; one started for this shows nobody."""
    from flows.serve.prefect_server import ADDRESS, announced

    return bool(os.environ.get(ADDRESS) or announced())


def _notifies() -> bool:
    from flows.serve.prefect_server import notifies

    return notifies()


def _promoted(number: int, refusal: str) -> None:
    if refusal:
        forcing = f'`gradus promote --version {number} --force "REASON"` promotes it all the same.'
        end(f"Version {number} is not promoted: {refusal.rstrip('.')}. {forcing}", 2)
    console.print(f"Version {number} is champion.", highlight=False)
