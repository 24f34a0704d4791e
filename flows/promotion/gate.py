"""Whether a version may be champion, and what was decided before: the rules, without Prefect.

The gate opens for a version that is better than the baseline (the verdict of `compare`) and than the present champion
in the same exam, comes from a clean commit, lies in the remote when there is one, and can answer. Every decision
is kept on the version it is about, with its numbers; who was champion before is read from them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flows.dag import dvc_cache
from flows.promotion import candidate, eval_fingerprint
from pipelines.config import Config
from pipelines.models import registry
from pipelines.models.registry import Version
from pipelines.runtime.errors import UserError

DECISION = "decision."
"""Begins the tags with what was decided about a version, when, and by which numbers."""
PROMOTED, FORCED, RESTORED, REFUSED = "promoted", "forced", "rolled back to", "refused"
ANSWERS = "answers"
"""The tag of a version that has been loaded from the registry and answered a question."""

Rescore = Callable[[Version, str], Version]


class NotMeasuredError(Exception):
    """Version and champion have to be asked the same questions first, for which there is no `Rescore`."""


@dataclass(frozen=True)
class Decision:
    """What was decided about a version: whether it is a new champion, and why not; no reason when it is champion."""

    version: Version
    changed: bool
    refusal: str = ""


def decide(number: int | None, settings: Config, force: str | None, rescore: Rescore | None = None) -> Decision:
    """Hold a version (the challenger when none is named) against the gate, and make it champion when it passes.

    With `force`, a reason, it becomes champion whatever the gate says.

    Raises:
        UserError: there is no such version, no challenger, or the weights of the one to be forced are gone.
        NotMeasuredError: there is no `rescore`, and something must be measured.
    """
    version = registry.version_with_alias(registry.CHALLENGER) if number is None else registry.get(number)
    if version is None:
        raise UserError("There is no challenger yet; `gradus run` makes one.")
    champion = registry.version_with_alias(registry.CHAMPION)
    if champion is not None and champion.number == version.number:
        return Decision(version, False)
    if force is not None:
        registry.files(version)
    rival = champion if champion is not None and registry.whole(champion) else None
    refusal = _flawed(version, settings) or _beaten(version, rival, settings, rescore, measure=force is None)
    if force is not None:
        _keep(version, FORCED, f"{force} (the gate: {refusal or 'passed'})")
    else:
        _keep(version, REFUSED if refusal else PROMOTED, refusal)
    if refusal and force is None:
        return Decision(version, False, refusal)
    _promote(version)
    return Decision(version, True)


def restore(reason: str) -> Version:
    """Make the champion before the present one champion again, and return it.

    Raises:
        UserError: there is none whose weights are still there.
    """
    version = _former()
    if version is None:
        raise UserError("There is no previous champion to go back to.")
    _keep(version, RESTORED, reason)
    _promote(version)
    return version


def forced(version: Version) -> str:
    """Return the reason for which a version was made champion against the gate; nothing when it was not."""
    decided = [account for _, account in _decisions(version) if account["decision"] != REFUSED]
    return decided[-1]["reason"] if decided and decided[-1]["decision"] == FORCED else ""


def _former() -> Version | None:
    """Return the champion before the present one, as the decisions tell; going back forgets those after it."""
    found = {version.number: version for version in registry.versions()}
    line: list[int] = []
    events = ((time, number, account["decision"]) for number, v in found.items() for time, account in _decisions(v))
    for _, number, decision in sorted(events):
        if decision == RESTORED and number in line:
            line = line[: line.index(number) + 1]
        elif decision != REFUSED:
            line = [*(each for each in line if each != number), number]
    champion = registry.version_with_alias(registry.CHAMPION)
    now = champion.number if champion else None
    before = line[: line.index(now)] if now in line else line
    return next((found[number] for number in reversed(before) if registry.whole(found[number])), None)


def _promote(version: Version) -> None:
    """Make a version champion; the alias `previous` then names the one that a rollback goes back to."""
    registry.set_alias(registry.CHAMPION, version)
    registry.set_alias(registry.PREVIOUS, _former())


def _flawed(version: Version, settings: Config) -> str:
    """Return why `version` may be no champion, whoever its rival is; nothing when it may."""
    if version.tags[candidate.VERDICT]:
        return version.tags[candidate.VERDICT]
    if version.tags.get("dirty") == "True":
        return (
            "it was made from files that no commit holds, so nobody could make it again; "
            "commit them (`dvc add` first what DVC keeps), `gradus run` once more (nothing is computed twice)."
        )
    if not dvc_cache.in_remote(version.tags["artifact"]):
        return "its weights are in no remote; `dvc push`, then `gradus promote`."
    return _mute(version, settings)


def _mute(version: Version, settings: Config) -> str:
    """Return what is wrong with a registered model that cannot be loaded, or says nothing; it is asked only once."""
    try:
        folder = registry.files(version)
        if ANSWERS in version.tags:
            return ""
        from pipelines.inference.chat_model import ChatModel

        model = ChatModel(folder / "model", folder / "components/tokenizer", settings.compute)
        said = model.answer([{"role": "user", "content": "What is the capital of France?"}])
    except (UserError, OSError, ValueError, RuntimeError) as error:
        return f"it cannot be loaded from the registry: {error}"
    if said:
        registry.describe(version, {ANSWERS: "True"})
    return "" if said else "it answers with nothing."


def _beaten(
    version: Version, champion: Version | None, settings: Config, rescore: Rescore | None, *, measure: bool
) -> str:
    """Return why `version` is no better than `champion`, putting both to today's exam where one sat another."""
    if champion is None:
        return ""
    sat = version.tags.get(registry.EXAM, "")
    if measure and registry.scores(champion, sat) is None:
        if rescore is None:
            raise NotMeasuredError
        sat = eval_fingerprint.today(settings)
        version, champion = (rescore(each, sat) for each in (version, champion))
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
    """Keep a decision on the version it is about, with the numbers it was made by; the same refusal only once."""
    version, champion = registry.get(version.number), registry.version_with_alias(registry.CHAMPION)
    account = {
        "decision": decision,
        "reason": reason,
        "numbers": _numbers(version),
        "champion": None if champion is None else {"version": champion.number, **_numbers(champion)},
    }
    before = _decisions(version)
    if decision == REFUSED and before and before[-1][1] == account:
        return
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    registry.describe(version, {f"{DECISION}{now}": json.dumps(account)})


def _decisions(version: Version) -> list[tuple[str, dict[str, Any]]]:
    """Return when, and what, was decided about a version, in order."""
    found = sorted(tag for tag in version.tags if tag.startswith(DECISION))
    return [(tag, json.loads(version.tags[tag])) for tag in found]


def _numbers(version: Version) -> dict[str, Any]:
    sat = version.tags.get(registry.EXAM, "")
    return {registry.EXAM: sat, **(registry.scores(version, sat) or {})}
