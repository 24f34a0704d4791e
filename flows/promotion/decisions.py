"""Decide on promotions and rollbacks, independent of Prefect.

A version is promoted when it passes the gate (pipelines/evaluation/gate.py) against the baseline, in `compare`, and
against the present champion under the same evaluation fingerprint; when it comes from a clean commit, is in the remote
if there is one, and answers as it was evaluated. Every decision is stored on its version with the metrics
(flows/promotion/history.py).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flows.dag import dvc_cache
from flows.promotion import candidate, eval_fingerprint, history
from flows.promotion.history import CLOSED, FORCED, PROMOTED, REFUSED, RESTORED, Openings
from flows.serve.answering import Answerer
from flows.serve.locations import registered
from pipelines.config import Config
from pipelines.evaluation import gate
from pipelines.evaluation.comparison import of
from pipelines.evaluation.question_sketch import OPENING, QUESTIONS, sketch
from pipelines.models import lookup
from pipelines.models.release import registry
from pipelines.models.release.registry import Version
from pipelines.runtime import tracking_store
from pipelines.runtime.errors import UserError

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


@dataclass(frozen=True)
class Basis:
    """The evaluation that a decision rests on."""

    fingerprint: str
    asked: str
    """Sketch of its test questions; empty if they were not stored."""


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
    basis = _registered(version)
    exhausted = _exhausted(version, basis.asked, settings)
    refusal = exhausted or _own_refusal(version, settings)
    verdict: dict[str, Any] | None = None
    if rival is not None and not refusal:
        if force is None and registry.answers(rival, basis.fingerprint) is None:
            version, rival, basis = _measured(version, rival, settings, rescore)
            exhausted = _exhausted(version, basis.asked, settings)
        verdict = _against(version, rival, basis.fingerprint, settings)
        refusal = exhausted or " ".join(verdict["reasons"])
    if force is not None:
        _keep(version, basis, FORCED, f"{force} (the gate: {refusal or 'passed'})", verdict)
    else:
        _keep(version, basis, CLOSED if exhausted else REFUSED if refusal else PROMOTED, refusal, verdict)
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
    _keep(version, _registered(version), RESTORED, reason)
    _promote(version)
    return version


def _former() -> Version | None:
    """Return the previous champion that has weights, according to the decisions."""
    versions = {version.number: version for version in registry.versions()}
    past = history.champions({number: version.tags for number, version in versions.items()})
    champion = registry.version_with_alias(registry.CHAMPION)
    now = champion.number if champion else None
    before = past[: past.index(now)] if now in past else past
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

    The questions are asked one at a time by the path of `gradus ask`, which abstains below the threshold. A passed
    check is not repeated.
    """
    try:
        registry.files(version)
        if float(version.tags.get(SERVED, 0)) >= MIN_SERVED:
            return ""
        from flows.promotion.served import agreement
        from pipelines.evaluation.confidence.calibration import Confidence
        from pipelines.inference.chat_model import ChatModel

        rows = registry.answers(version, version.tags[registry.FINGERPRINT])
        if rows is None or "confidence" not in rows[0]:
            return "its answers and the confidence in them are not in MLflow; run `gradus run` again."
        location = registered(lookup.facts(version, ""))
        model = ChatModel(location.weights, location.tokenizer, settings.compute, location.decoding)
        threshold = None if location.confidence is None else Confidence.of(location.confidence).threshold
        answerer = Answerer(model, location, settings)
        share = agreement(answerer, rows, threshold, settings, SERVED_QUESTIONS)
    except (UserError, OSError, ValueError, RuntimeError) as error:
        return f"it cannot be loaded from the registry and asked: {error}"
    registry.describe(version, {SERVED: f"{share:.4f}"})
    return "" if share >= MIN_SERVED else describe_served(share)


def describe_served(share: float) -> str:
    """Return the check `served` as a sentence."""
    return f"loaded from the registry it repeats {100 * share:.0f}% of its verdicts; it must be {MIN_SERVED:.0%}."


def _registered(version: Version) -> Basis:
    """Return the evaluation that `version` was registered with."""
    return Basis(version.tags.get(registry.FINGERPRINT, ""), version.tags.get(QUESTIONS, ""))


def _measured(
    version: Version, champion: Version, settings: Config, rescore: Rescore | None
) -> tuple[Version, Version, Basis]:
    """Evaluate both on the present questions; return them with that evaluation.

    Raises:
        NotMeasuredError: no `rescore` was given.
    """
    if rescore is None:
        raise NotMeasuredError
    fingerprint = eval_fingerprint.today(settings)
    version, champion = (rescore(each, fingerprint) for each in (version, champion))
    return version, champion, Basis(fingerprint, sketch(of(registry.answers(version, fingerprint) or [], "test")))


def _against(version: Version, champion: Version, fingerprint: str, settings: Config) -> dict[str, Any]:
    """Return the verdict of the gate on `version` against `champion`, by the evaluation `fingerprint` of both."""
    now, before = registry.answers(version, fingerprint), registry.answers(champion, fingerprint)
    name = f"the champion, version {champion.number}"
    if now is None or before is None:
        reason = f"{name}, was not evaluated on the same questions in the same way."
        return {"outcome": gate.Outcome.UNDECIDED, "checks": [], "reasons": [reason]}
    reference = gate.Reference(gate.Role.CHAMPION, name, of(before, "test"))
    return gate.verdict(gate.judge(of(now, "test"), reference, settings.compare, settings.compute.seed))


def openings(version: Version, settings: Config, asked: str = "", *, others: bool = False) -> Openings:
    """Return how many candidates, or how many `others`, were asked the test questions with the sketch `asked`.

    By default they are those that `version` was registered with, or without any, the last ones.
    """
    tags, opened = {each.number: each.tags for each in registry.versions()}, tracking_store.tag_values(OPENING)
    asked = asked or version.tags.get(QUESTIONS) or history.last_questions(tags, opened) or ""
    own = {history.weights(version.number, version.tags)} if others else set()
    return Openings(len(history.candidates(tags, opened, asked) - own), settings.compare.openings)


def _exhausted(version: Version, asked: str, settings: Config) -> str:
    """Return why the test questions `asked` may not decide on `version`, because of the others; empty if they may."""
    found = openings(version, settings, asked, others=True)
    if not found.closed:
        return ""
    return (
        "new test questions are needed (docs/evaluation.md): "
        f"the present ones were asked of {found.used} other candidates, "
        f"and compare.openings allows {found.allowed}, because a bad model passes sooner or later by chance."
    )


def _keep(version: Version, basis: Basis, decision: str, reason: str, verdict: dict[str, Any] | None = None) -> None:
    """Store a decision on its version with what it was based on; skip a repeated identical refusal.

    `verdict` is that of the gate against the champion; None if there is none, or something else refused the version.
    """
    version, champion = registry.get(version.number), registry.version_with_alias(registry.CHAMPION)
    entry = {
        "decision": decision,
        "reason": reason,
        QUESTIONS: basis.asked,
        "numbers": _numbers(version, basis.fingerprint),
        "champion": None if champion is None else {"version": champion.number, **_numbers(champion, basis.fingerprint)},
        "against_champion": verdict,
        "served": version.tags.get(SERVED),
    }
    text = json.dumps(entry)
    if decision in (REFUSED, CLOSED) and json.dumps(history.last(version.tags)) == text:
        return
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    registry.describe(version, {f"{history.PREFIX}{now}": text})


def _numbers(version: Version, fingerprint: str) -> dict[str, Any]:
    """Return the scores of `version` under `fingerprint`, or else those that it was registered with."""
    if registry.scores(version, fingerprint) is None:
        fingerprint = version.tags.get(registry.FINGERPRINT, "")
    return {registry.FINGERPRINT: fingerprint, **(registry.scores(version, fingerprint) or {})}
