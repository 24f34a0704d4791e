"""Which version is champion. Alone: gradus promote, gradus rollback

The gate opens for a version that is better than the baseline (the verdict of `compare`) and than the present champion
in the same exam, comes from a clean commit, lies in the remote when there is one, and can answer. Every decision
is kept on the version it is about, with its numbers.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows import candidate, exam, notify, store
from flows.rescore import rescored
from pipelines import registry, tracking
from pipelines.config import Config
from pipelines.errors import UserError
from pipelines.registry import Version

DECISION = "decision."
"""Begins the tags with what was decided about a version, when, and by which numbers."""


@dataclass(frozen=True)
class Promotion:
    """What became of the candidate."""

    comparison: dict[str, Any]
    candidate: str
    version: int
    promoted: bool
    reason: str


def promote_candidate(parent: tracking.Run, settings: Config) -> Promotion:
    """Register the candidate of the flow run `parent`, and promote it or say why not."""
    chosen = candidate.register(parent, settings)
    number = chosen.version.number
    _, refusal = promote(number, settings)
    parent.tags(
        {"candidate": chosen.name, "model_version": str(number), "promoted": str(not refusal), "reason": refusal}
    )
    return Promotion(chosen.comparison, chosen.name, number, not refusal, refusal)


@flow(name="promote", validate_parameters=False)
def promote(number: int | None, settings: Config, force: str | None = None) -> tuple[Version, str]:
    """Hold a version (the challenger when none is named) against the gate; return it and why it may not pass.

    With `force`, a reason, it becomes champion whatever the gate says; the reason is kept with the decision.

    Raises:
        UserError: there is no such version, or no challenger.
    """
    version = registry.holder(registry.CHALLENGER) if number is None else registry.get(number)
    if version is None:
        raise UserError("There is no challenger yet; `gradus run` makes one.")
    champion = registry.holder(registry.CHAMPION)
    if champion is not None and champion.number == version.number:
        return version, version.tags[candidate.VERDICT]
    refusal = _flawed(version) or _beaten(version, champion, settings, measure=force is None)
    if force is not None:
        _keep(version, "forced", f"{force} (the gate: {refusal or 'passed'})")
    else:
        _keep(version, "refused" if refusal else "promoted", refusal)
    if refusal and force is None:
        return version, refusal
    registry.crown(version)
    notify.tell("Gradus: a new champion", f"Version {version.number} ({version.tags['model']}) is champion.")
    return version, ""


@flow(name="rollback", validate_parameters=False)
def rollback(reason: str) -> Version:
    """Make the previous champion champion again, and return it.

    Raises:
        UserError: there is no previous champion.
    """
    version = registry.holder(registry.PREVIOUS)
    if version is None:
        raise UserError("There is no previous champion to go back to.")
    _keep(version, "rolled back to", reason)
    registry.crown(version)
    notify.tell("Gradus: rolled back", f"Version {version.number} is champion again: {reason}")
    return version


def _flawed(version: Version) -> str:
    """Return why `version` may be no champion, whoever its rival is; nothing when it may."""
    if version.tags[candidate.VERDICT]:
        return version.tags[candidate.VERDICT]
    if version.tags.get("dirty") == "True":
        return (
            "it was made from files that no commit holds, so nobody could make it again; "
            "commit them (`dvc add` first what DVC keeps), `gradus run` once more (nothing is computed twice)."
        )
    if not store.in_remote(version.tags["artifact"]):
        return "its weights are in no remote; `dvc push`, then `gradus promote`."
    return _mute(version)


def _mute(version: Version) -> str:
    """Return what is wrong with a registered model that cannot be loaded, or says nothing."""
    try:
        said = registry.ask("What is the capital of France?", f"/{version.number}")
    except (UserError, OSError, ValueError, RuntimeError) as error:
        return f"it cannot be loaded from the registry: {error}"
    return "" if said else "it answers with nothing."


def _beaten(version: Version, champion: Version | None, settings: Config, *, measure: bool) -> str:
    """Return why `version` is no better than `champion`, putting both to today's exam where one sat another."""
    if champion is None:
        return ""
    sat = version.tags.get(registry.EXAM, "")
    if measure and registry.scores(champion, sat) is None:
        sat = exam.today(settings)
        version, champion = (rescored(each, sat) for each in (version, champion))
    now, before = registry.scores(version, sat), registry.scores(champion, sat)
    if now is None or before is None:
        return f"the champion, version {champion.number}, was not asked the same questions in the same way."
    return worse(now, before, f"the champion, version {champion.number}", settings.compare.max_hallucination_rise)


def worse(now: dict[str, float], before: dict[str, float], rival: str, max_hallucination_rise: float) -> str:
    """Return why the figures `now` are no better than those of the `rival` `before`; nothing when they are."""
    rise = now["hallucination_rate"] - before["hallucination_rate"]
    if rise > max_hallucination_rise + 1e-9:
        return f"it invents {100 * rise:.1f} points more than {rival}."
    if _rank(now) <= _rank(before):
        right, rivals = 100 * now["answer_accuracy"], 100 * before["answer_accuracy"]
        return f"it answers {right:.1f}% right, which is no better than {rival} ({rivals:.1f}%)."
    return ""


def _rank(numbers: dict[str, float]) -> tuple[float, float]:
    """More right answers win; among equals, fewer invented ones."""
    return numbers["answer_accuracy"], -numbers["hallucination_rate"]


def _keep(version: Version, decision: str, reason: str) -> None:
    """Keep a decision on the version it is about, with the numbers it was made by; not the same one twice."""
    version, champion = registry.get(version.number), registry.holder(registry.CHAMPION)
    account = {
        "decision": decision,
        "reason": reason,
        "numbers": _numbers(version),
        "champion": None if champion is None else {"version": champion.number, **_numbers(champion)},
    }
    before = sorted(tag for tag in version.tags if tag.startswith(DECISION))
    if before and json.loads(version.tags[before[-1]]) == account:
        return
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    registry.describe(version, {f"{DECISION}{now}": json.dumps(account)})


def _numbers(version: Version) -> dict[str, Any]:
    sat = version.tags.get(registry.EXAM, "")
    return {registry.EXAM: sat, **(registry.scores(version, sat) or {})}
