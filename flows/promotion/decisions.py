"""Promotion and the history of its decisions, independent of Prefect.

A version is promoted when it passes the gate (pipelines/evaluation/gate.py) against the baseline, in `compare`, and
against the present champion under the same evaluation fingerprint; when it comes from a clean commit, is in the remote
if there is one, and answers as it was evaluated. Every decision is stored on its version with the metrics; former
champions and the number of openings of the test questions are derived from these decisions.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flows.dag import dvc_cache
from flows.promotion import candidate, eval_fingerprint
from pipelines.config import Config
from pipelines.evaluation import gate
from pipelines.evaluation.comparison import of
from pipelines.models import registry
from pipelines.models.registry import Version
from pipelines.runtime.errors import UserError

DECISION = "decision."
"""Prefix of the tags that hold the decisions on a version: time, decision and metrics."""
PROMOTED, FORCED, RESTORED, REFUSED = "promoted", "forced", "rolled back to", "refused"
SERVED = "served"
"""Tag with the share of verdicts that a version loaded from the registry repeats."""
MIN_SERVED, SERVED_QUESTIONS = 0.98, 60
"""Least share of repeated verdicts, and how many validation questions are asked: batches of another size round
differently, which changes few verdicts; a wrong chat template or lost weights change many."""

Rescore = Callable[[Version, str], Version]


class NotMeasuredError(Exception):
    """Version and champion must first be evaluated on the same questions, but no `Rescore` was given."""


@dataclass(frozen=True)
class Decision:
    """A decision on a version: whether it became champion, or the reason of the refusal (empty if promoted)."""

    version: Version
    changed: bool
    refusal: str = ""


def decide(number: int | None, settings: Config, force: str | None, rescore: Rescore | None = None) -> Decision:
    """Check a version (by default the challenger) against the gate, and promote it if it passes.

    With `force`, a reason, it is promoted regardless of the gate.

    Raises:
        UserError: there is no such version, no challenger, or the weights of the version to be forced are gone.
        NotMeasuredError: an evaluation is needed and no `rescore` was given.
    """
    version = registry.version_with_alias(registry.CHALLENGER) if number is None else registry.get(number)
    if version is None:
        raise UserError("There is no challenger yet; `gradus run` registers one.")
    champion = registry.version_with_alias(registry.CHAMPION)
    if champion is not None and champion.number == version.number:
        return Decision(version, False)
    if force is not None:
        registry.files(version)
    rival = champion if champion is not None and registry.whole(champion) else None
    refusal = (
        _exhausted(version, settings)
        or _own_refusal(version, settings)
        or _rival_refusal(version, rival, settings, rescore, measure=force is None)
    )
    if force is not None:
        _keep(version, FORCED, f"{force} (the gate: {refusal or 'passed'})")
    else:
        _keep(version, REFUSED if refusal else PROMOTED, refusal)
    if refusal and force is None:
        return Decision(version, False, refusal)
    _promote(version)
    return Decision(version, True)


def restore(reason: str) -> Version:
    """Make the previous champion champion again, and return it.

    Raises:
        UserError: there is no previous champion with weights.
    """
    version = _former()
    if version is None:
        raise UserError("There is no previous champion to go back to.")
    _keep(version, RESTORED, reason)
    _promote(version)
    return version


def forced(version: Version) -> str:
    """Return the reason of a forced promotion; empty when the version was not forced."""
    promotions = [entry for _, entry in _decisions(version) if entry["decision"] != REFUSED]
    return promotions[-1]["reason"] if promotions and promotions[-1]["decision"] == FORCED else ""


def _former() -> Version | None:
    """Return the previous champion according to the decisions; a rollback drops the champions after its target."""
    versions = {version.number: version for version in registry.versions()}
    history: list[int] = []
    events = ((time, number, entry["decision"]) for number, v in versions.items() for time, entry in _decisions(v))
    for _, number, decision in sorted(events):
        if decision == RESTORED and number in history:
            history = history[: history.index(number) + 1]
        elif decision != REFUSED:
            history = [*(each for each in history if each != number), number]
    champion = registry.version_with_alias(registry.CHAMPION)
    now = champion.number if champion else None
    before = history[: history.index(now)] if now in history else history
    return next((versions[number] for number in reversed(before) if registry.whole(versions[number])), None)


def _promote(version: Version) -> None:
    """Make a version champion, and point the alias `previous` at the target of a rollback."""
    registry.set_alias(registry.CHAMPION, version)
    registry.set_alias(registry.PREVIOUS, _former())


def _own_refusal(version: Version, settings: Config) -> str:
    """Return why `version` cannot be promoted regardless of its rival; empty if it can."""
    if version.tags[candidate.VERDICT]:
        return version.tags[candidate.VERDICT]
    if version.tags.get("dirty") == "True":
        return (
            "it was made from files that no commit holds, so it cannot be reproduced; commit them (after `dvc add` for "
            "data under DVC) and run `gradus run` again (nothing is recomputed)."
        )
    if not dvc_cache.in_remote(version.tags["artifact"]):
        return "its weights are in no remote; run `dvc push`, then `gradus promote`."
    return _served_refusal(version, settings)


def _served_refusal(version: Version, settings: Config) -> str:
    """Return why a version loaded from the registry does not answer as evaluated; empty if it does.

    The questions are asked one at a time, as `gradus ask` does. A passed check is not repeated.
    """
    try:
        folder = registry.files(version)
        if SERVED in version.tags:
            return ""
        from pipelines.evaluation.served import agreement
        from pipelines.inference.chat_model import ChatModel

        rows = registry.answers(version, version.tags[registry.FINGERPRINT])
        if rows is None:
            return "the answers it was evaluated with are no longer in MLflow; run `gradus run` again."
        model = ChatModel(folder / "model", folder / "components/tokenizer", settings.compute)
        share = agreement(model, rows, settings, SERVED_QUESTIONS)
    except (UserError, OSError, ValueError, RuntimeError) as error:
        return f"it cannot be loaded from the registry: {error}"
    if share < MIN_SERVED:
        return f"loaded from the registry it repeats {100 * share:.0f}% of its verdicts; it must be {MIN_SERVED:.0%}."
    registry.describe(version, {SERVED: f"{share:.4f}"})
    return ""


def _rival_refusal(
    version: Version, champion: Version | None, settings: Config, rescore: Rescore | None, *, measure: bool
) -> str:
    """Return why `version` does not pass the gate against `champion`; evaluate both if their fingerprints differ."""
    if champion is None:
        return ""
    fingerprint = version.tags.get(registry.FINGERPRINT, "")
    if measure and registry.answers(champion, fingerprint) is None:
        if rescore is None:
            raise NotMeasuredError
        fingerprint = eval_fingerprint.today(settings)
        version, champion = (rescore(each, fingerprint) for each in (version, champion))
    now, before = registry.answers(version, fingerprint), registry.answers(champion, fingerprint)
    name = f"the champion, version {champion.number}"
    if now is None or before is None:
        return f"{name}, was not evaluated on the same questions in the same way."
    checks = gate.judge(of(now, "test"), of(before, "test"), name, settings.compare, settings.compute.seed)
    return " ".join(gate.verdict(checks)["reasons"])


def _exhausted(version: Version, settings: Config) -> str:
    """Return why the test questions cannot serve another decision; empty if they can.

    Every other version that was decided on by them counts once, however often.
    """
    fingerprint, allowed = version.tags.get(registry.FINGERPRINT, ""), settings.compare.openings
    others = (each for each in registry.versions() if each.number != version.number)
    used = sum(any(_was_opened(entry, fingerprint) for _, entry in _decisions(each)) for each in others)
    if used < allowed:
        return ""
    return (
        f"the test questions have decided on {used} other versions, and compare.openings allows {allowed}, because a "
        "bad model passes sooner or later by chance. Write new test questions (docs/evaluation.md)."
    )


def _was_opened(entry: dict[str, Any], fingerprint: str) -> bool:
    return entry["decision"] in (PROMOTED, REFUSED) and entry["numbers"].get(registry.FINGERPRINT) == fingerprint


def _keep(version: Version, decision: str, reason: str) -> None:
    """Store a decision on its version with the metrics it was based on; skip a repeated identical refusal."""
    version, champion = registry.get(version.number), registry.version_with_alias(registry.CHAMPION)
    entry = {
        "decision": decision,
        "reason": reason,
        "numbers": _numbers(version),
        "champion": None if champion is None else {"version": champion.number, **_numbers(champion)},
    }
    before = _decisions(version)
    if decision == REFUSED and before and before[-1][1] == entry:
        return
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    registry.describe(version, {f"{DECISION}{now}": json.dumps(entry)})


def _decisions(version: Version) -> list[tuple[str, dict[str, Any]]]:
    """Return time and content of the decisions on a version, in order."""
    found = sorted(tag for tag in version.tags if tag.startswith(DECISION))
    return [(tag, json.loads(version.tags[tag])) for tag in found]


def _numbers(version: Version) -> dict[str, Any]:
    fingerprint = version.tags.get(registry.FINGERPRINT, "")
    return {registry.FINGERPRINT: fingerprint, **(registry.scores(version, fingerprint) or {})}
