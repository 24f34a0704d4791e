"""Promotion and rollback as Prefect flows around flows/promotion/decisions.py.

Standalone: gradus promote, gradus rollback.
"""

from dataclasses import dataclass
from typing import Any

from prefect import flow

from flows.promotion import candidate, decisions, history
from flows.promotion.evaluate_version import rescored
from flows.promotion.history import Entry, Openings
from flows.serve import notify
from pipelines.config import Config
from pipelines.models.release import registry
from pipelines.models.release.registry import Version
from pipelines.runtime import tracking


@dataclass(frozen=True)
class Promotion:
    """The outcome for the candidate."""

    comparison: dict[str, Any]
    candidate: str
    version: int
    promoted: bool
    reason: str
    """Why it was refused, or why its promotion was forced."""
    openings: Openings
    """The openings of the gate, this one included."""
    decision: Entry
    """The last decision on the version."""


def promote_candidate(parent: tracking.Run, settings: Config) -> Promotion:
    """Register the candidate of the flow run `parent`, and promote it or record the reason of the refusal."""
    chosen = candidate.register(parent, settings)
    number = chosen.version.number
    version, refusal = promote(number, settings)
    openings = decisions.openings(version, settings)
    outcome = {"candidate": chosen.name, "model_version": str(number), "promoted": str(not refusal), "reason": refusal}
    parent.tags({**outcome, "openings": f"{openings.used} of {openings.allowed}"})
    tags = registry.get(number).tags
    reason = refusal or history.forced(tags)
    return Promotion(chosen.comparison, chosen.name, number, not refusal, reason, openings, history.last(tags))


@flow(name="promote", flow_run_name="promote", validate_parameters=False)
def promote(number: int | None, settings: Config, force: str | None = None) -> tuple[Version, str]:
    """Check a version (by default the challenger) against the gate; return it and the reason of a refusal, if any.

    With `force`, a reason, it is promoted regardless of the gate; the reason is stored with the decision.

    Raises:
        UserError: there is no such version, or no challenger.
    """
    decision = decisions.decide(number, settings, force, rescored)
    if decision.changed:
        notify_champion(decision.version)
    return decision.version, decision.refusal


@flow(name="rollback", flow_run_name="rollback", validate_parameters=False)
def rollback(reason: str) -> Version:
    """Make the previous champion champion again, and return it.

    Raises:
        UserError: there is no previous champion.
    """
    version = decisions.restore(reason)
    notify_rollback(version, reason)
    return version


def notify_champion(version: Version) -> None:
    """Send a message that a version became champion."""
    notify.send("Gradus: new champion", f"Version {version.number} ({version.tags['model']}) is champion.")


def notify_rollback(version: Version, reason: str) -> None:
    """Send a message that a version is champion again."""
    notify.send("Gradus: rolled back", f"Version {version.number} is champion again: {reason}")
