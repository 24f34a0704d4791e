"""Register the candidate that `compare` named, and decide which version is champion.

Reads artifacts/compare/ and dvc.lock; writes a model version with its lineage to the registry, the alias
`challenger`, and `champion` when the gate opens: better than the baseline (the verdict of compare) and than the
present champion, from a clean commit, in the remote when there is one, and able to answer. Every decision is kept on
the version it is about. Alone: gradus promote, gradus rollback
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flows import ledger
from pipelines import artifacts, registry, tracking
from pipelines.config import Config
from pipelines.errors import UserError
from pipelines.registry import Version

COMPARISON = artifacts.ARTIFACTS / "compare"
GATED = ("answer_accuracy", "hallucination_rate", "general_accuracy")
DECISION = "decision."
"""Begins the tags with what was decided about a version, when, and by which numbers."""
VERDICT = "verdict"
"""The tag with what `compare` has against a version; empty when nothing."""


@dataclass(frozen=True)
class Promotion:
    """What became of the candidate."""

    comparison: dict[str, Any]
    candidate: str
    version: int
    promoted: bool
    reason: str


def promote(parent: tracking.Run, settings: Config) -> Promotion:
    """Keep the comparison with the flow's run, register its candidate once, and promote it or say why not."""
    comparison = artifacts.read_json(COMPARISON / "metrics.json")
    parent.metrics(_figures(comparison))
    parent.artifact(COMPARISON, "compare")
    name = comparison["candidate"]
    numbers = {metric: comparison["models"][name][metric] for metric in GATED}
    verdict = " ".join(comparison["verdict"]["reasons"])
    version = _registered(parent, settings, name, numbers, verdict)
    registry.give(registry.CHALLENGER, version)
    refusal = decide(version, settings)
    parent.tags(
        {
            "candidate": name,
            "model_version": str(version.number),
            "promoted": str(not refusal),
            "reason": refusal,
        }
    )
    return Promotion(comparison, name, version.number, not refusal, refusal)


def reconsider(number: int | None, settings: Config, force: str | None = None) -> tuple[Version, str]:
    """Hold a version (the challenger when none is named) against the gate again; return it and why it may not pass.

    With `force`, a reason, it becomes champion whatever the gate says; the reason is kept with the decision.

    Raises:
        UserError: there is no such version, or no challenger.
    """
    version = registry.holder(registry.CHALLENGER) if number is None else registry.get(number)
    if version is None:
        raise UserError("There is no challenger yet; `gradus run` makes one.")
    return version, decide(version, settings, force)


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
    return version


def decide(version: Version, settings: Config, force: str | None = None) -> str:
    """Make `version` champion when the gate opens, or is forced; return why it may not be, and keep the decision."""
    champion = registry.holder(registry.CHAMPION)
    if champion is not None and champion.number == version.number:
        return version.tags[VERDICT]
    refusal = refused(version, champion, settings.compare.max_hallucination_rise)
    if not refusal:
        refusal = _unpushed(version) or _mute(version)
    if force is not None:
        _keep(version, "forced", f"{force} (the gate: {refusal or 'passed'})")
        refusal = ""
    else:
        _keep(version, "refused" if refusal else "promoted", refusal)
    if not refusal:
        registry.crown(version)
    return refusal


def refused(version: Version, champion: Version | None, max_hallucination_rise: float) -> str:
    """Return why `version` may not be champion, or nothing when it may."""
    if version.tags[VERDICT]:
        return version.tags[VERDICT]
    if version.tags.get("dirty") == "True":
        return (
            "it was made from files that no commit holds, so nobody could make it again; "
            "commit them, `gradus run` once more (nothing is computed twice)."
        )
    if champion is None:
        return ""
    rival = f"the champion, version {champion.number}"
    if champion.tags["questions"] != version.tags["questions"]:
        return f"{rival}, was measured on other questions; `gradus promote --force REASON` if that is meant to be."
    now, before = _numbers(version), _numbers(champion)
    rise = now["hallucination_rate"] - before["hallucination_rate"]
    if rise > max_hallucination_rise + 1e-9:
        return f"it invents {100 * rise:.1f} points more than {rival}."
    if _rank(now) <= _rank(before):
        right, rivals = 100 * now["answer_accuracy"], 100 * before["answer_accuracy"]
        return f"it answers {right:.1f}% right, which is no better than {rival} ({rivals:.1f}%)."
    return ""


def _unpushed(version: Version) -> str:
    """Return what is wrong with weights that no other machine could get."""
    if ledger.in_remote(version.tags["artifact"]):
        return ""
    return "its weights are in no remote; `dvc push`, then `gradus promote`."


def _mute(version: Version) -> str:
    """Return what is wrong with a registered model that cannot be loaded, or says nothing."""
    try:
        said = registry.ask("What is the capital of France?", f"/{version.number}")
    except (UserError, OSError, ValueError, RuntimeError) as error:
        return f"it cannot be loaded from the registry: {error}"
    return "" if said else "it answers with nothing."


def _keep(version: Version, decision: str, reason: str) -> None:
    """Keep a decision on the version it is about, with the numbers it was made by; not the same one twice."""
    champion = registry.holder(registry.CHAMPION)
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


def _rank(numbers: dict[str, float]) -> tuple[float, float]:
    """More right answers win; among equals, fewer invented ones."""
    return numbers["answer_accuracy"], -numbers["hallucination_rate"]


def _registered(parent: tracking.Run, settings: Config, name: str, numbers: dict[str, float], verdict: str) -> Version:
    """Return the candidate's version: made only when these very weights have none, with today's figures and commit."""
    place = settings.evaluate.models[name]
    directory, stage = artifacts.ARTIFACTS / place, place.replace("/", "@")
    measured = {metric: repr(number) for metric, number in numbers.items()}
    measured["questions"] = ledger.input_hash(f"evaluate@{name}", settings.evaluate.questions)
    measured |= {VERDICT: verdict, **parent.lineage()}
    artifact = ledger.output_hash(stage, directory)
    version = registry.find(artifact)
    if version is not None:
        return registry.describe(version, measured)
    made = {
        "artifact": artifact,
        "model": name,
        "stage_key": ledger.prove(stage).key,
        "data": ledger.output_hash("split", artifacts.ARTIFACTS / "split"),
        "dvc_lock": ledger.lock_hash(),
        "parent_run": parent.id,
    }
    tokens = settings.evaluate.max_new_tokens
    return registry.register(parent, directory, settings.compute, tokens, {**measured, **made})


def _figures(comparison: dict[str, Any]) -> dict[str, float]:
    return {
        f"{model}.{metric}": value
        for model, numbers in comparison["models"].items()
        for metric, value in numbers.items()
        if isinstance(value, int | float)
    }


def _numbers(version: Version) -> dict[str, float]:
    return {metric: float(version.tags[metric]) for metric in GATED}
