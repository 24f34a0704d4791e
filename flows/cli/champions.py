"""Commands for registered models: ask, chat, keep, diff, promote, rollback."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.app import console, end, prefect, stderr
from pipelines.runtime.errors import UserError

if TYPE_CHECKING:
    from flows.promotion.decisions import Decision
    from pipelines.config import Config
    from pipelines.models.release.registry import Version

Number = Annotated[int | None, typer.Option("--version", help="Version to promote; by default the challenger.")]
Asked = Annotated[int | None, typer.Option("--version", help="Ask this version instead of the champion.")]
Model = Annotated[
    str, typer.Option(help="Ask this model of evaluate.models (params.yaml) instead of a registered one.")
]
Adapter = Annotated[str, typer.Option("--adapter", help="Ask this task adapter of data/adapters (`gradus keep`).")]
Check = Annotated[bool, typer.Option("--check", help="Search the documents for a sentence that supports the answer.")]
Guess = Annotated[bool, typer.Option("--guess", help="Show an answer that is too uncertain to be given.")]
ForceReason = Annotated[str | None, typer.Option("--force", help="Promote regardless of the gate, for this reason.")]
Reason = Annotated[str, typer.Option(help="Stored with the decision.")]
DIFFERENCES = 5
"""Questions shown of each kind of change, without --all."""
Question = Annotated[str, typer.Argument(help="The question.")]


def ask(
    question: Question,
    version: Asked = None,
    model: Model = "",
    adapter: Adapter = "",
    check: Check = False,
    guess: Guess = False,
) -> None:
    """Ask the champion a question, or the challenger if there is no champion."""
    from flows.commands import chat
    from flows.serve.answering import Answerer
    from pipelines import config

    settings, searched = config.load(), chat.documents() if check else None
    which = _which(version, model, adapter)
    location, loaded = chat.load_adapter(adapter, settings) if adapter else chat.load(which, settings)
    if location.note:
        stderr.print(f"{location.note} {location.title} answers.", highlight=False, soft_wrap=True)
    answer = Answerer(loaded, location, settings).answer([{"role": "user", "content": question}], guess)
    console.print(answer.text, markup=False, highlight=False)
    if answer.note:
        stderr.print(answer.note, style="dim", highlight=False, soft_wrap=True)
    if searched is not None:
        for line in chat.check(question, answer.text, location, searched, settings.curate.refusal):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def chat(version: Asked = None, model: Model = "") -> None:
    """Chat with the champion or another model; /model switches the model, /quit ends."""
    from flows.commands import chat
    from pipelines import config

    chat.chat(console, _which(version, model), config.load())


def keep(
    name: Annotated[str, typer.Argument(help="Name of the task adapter.")],
    source: Annotated[
        str, typer.Option("--from", metavar="MODEL", help="A model of evaluate.models, or a folder of artifacts/.")
    ] = "sft",
    replace: Annotated[bool, typer.Option("--replace", help="Replace the adapter of that name.")] = False,
) -> None:
    """Keep a trained adapter in data/adapters, to ask it by name or to combine it with others."""
    from flows.promotion.keep import keep
    from pipelines import config

    keep(console, name, source, replace, config.load())


def diff(
    before: Annotated[int, typer.Argument(help="A registered version.")],
    after: Annotated[int, typer.Argument(help="A later one.")],
    everything: Annotated[bool, typer.Option("--all", help="Show every question.")] = False,
) -> None:
    """Show the test questions that a version learnt, lost, hallucinates anew or no longer, against another."""
    from flows.commands.diff import diff

    diff(console, before, after, None if everything else DIFFERENCES)


def promote(version: Number = None, force: ForceReason = None) -> None:
    """Check a version against the promotion gate again, and make it champion if it passes or is forced."""
    if force is not None and not force.strip():
        raise UserError("--force needs the reason, which is stored with the decision.")
    from pipelines import config

    settings = config.load()
    decision = None if _prefect_is_running() else _decide_locally(version, settings, force)
    if decision is None:
        with prefect() as ready:
            from flows.promotion.promote import promote

            ready()
            chosen, refusal = promote(version, settings, force)
        _report(chosen, refusal, settings)
        return
    _report(decision.version, decision.refusal, settings)
    if decision.changed and _notifies():
        with prefect() as ready:
            from flows.promotion.promote import notify_champion

            ready()
            notify_champion(decision.version)


def rollback(reason: Reason = "no reason given") -> None:
    """Make the previous champion champion again; repeat to go further back."""
    if _prefect_is_running():
        with prefect() as ready:
            from flows.promotion.promote import rollback

            ready()
            console.print(f"Version {rollback(reason).number} is champion again.", highlight=False)
        return
    from flows.promotion import decisions

    version = decisions.restore(reason)
    console.print(f"Version {version.number} is champion again.", highlight=False)
    if _notifies():
        with prefect() as ready:
            from flows.promotion.promote import notify_rollback

            ready()
            notify_rollback(version, reason)


def _which(version: int | None, model: str, adapter: str = "") -> str:
    if sum([version is not None, bool(model), bool(adapter)]) > 1:
        raise UserError(
            "--version selects a registered version, --model one of evaluate.models, and --adapter one of "
            "data/adapters; give only one of them."
        )
    return model or ("" if version is None else str(version))


def _decide_locally(version: int | None, settings: "Config", force: str | None) -> "Decision | None":
    """Decide without a Prefect server, which takes seconds to start; None if models must be evaluated first."""
    from flows.promotion import decisions

    try:
        return decisions.decide(version, settings, force)
    except decisions.NotMeasuredError:
        return None


def _prefect_is_running() -> bool:
    """Return whether a Prefect server is running, so that decisions are shown as flow runs."""
    from flows.serve.prefect_server import ADDRESS, announced

    return bool(os.environ.get(ADDRESS) or announced())


def _notifies() -> bool:
    from flows.serve.prefect_server import notifies

    return notifies()


def _report(version: "Version", refusal: str, settings: "Config") -> None:
    from flows.promotion import decisions

    console.print(str(decisions.openings(version, settings)), highlight=False)
    if refusal:
        forcing = f'`gradus promote --version {version.number} --force "REASON"` promotes it anyway.'
        end(f"Version {version.number} is not promoted: {refusal.rstrip('.')}. {forcing}", 2)
    console.print(f"Version {version.number} is champion.", highlight=False)
