"""Scheduled flows (prefect.yaml): retrain when an input changed, re-evaluate the champion when the questions did.

Standalone: gradus up
"""

from contextlib import suppress
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed
from rich.console import Console

from flows.commands import run_at_commit
from flows.dag import graph, staleness
from flows.post_train import post_train
from flows.preflight import check
from flows.promotion import eval_fingerprint
from flows.promotion.evaluate_version import rescored
from flows.run.recovery import recover
from flows.serve import notify
from pipelines.models.release import registry
from pipelines.runtime import liveness
from pipelines.runtime.errors import InProgressError


def failed(flow: Any, flow_run: Any, state: State[Any]) -> None:
    """Notify that a scheduled run failed or crashed."""
    notify.send(f"Gradus: {flow_run.name} {state.name.lower() if state.name else 'failed'}", state.message or "")


@flow(name="retrain", on_failure=[failed], on_crashed=[failed])
def retrain(stages: list[str] | None = None, set: list[str] | None = None) -> State[None]:
    """Run the pipeline when an input has changed, and send a message when the candidate is not promoted.

    `stages` names the stages to run, with their dependencies; all stages by default. `set`, as in `sft.epochs=8`, runs
    HEAD with these parameters in a separate worktree, as `gradus run --set` does.
    """
    settings, targets = check(), stages or []
    if set:
        return _with_parameters(targets, set)
    try:
        with liveness.exclusive("post_train"):
            recover(settings)
            changed = staleness.changes(graph.read().towards(targets))
        if not changed:
            return Completed(message="Nothing changed since the last run; nothing was started.")
        promotion = post_train(settings, Console(stderr=True, width=120, markup=False), targets, False)
    except InProgressError as error:
        return Completed(message=f"Nothing was started: {error}")
    except KeyboardInterrupt:
        return Cancelled(message="Stopped. Finished stages are kept; the next run continues from there.")
    if promotion is None:
        return Completed(message=f"{', '.join(targets)} ran; there was no candidate to promote.")
    outcome = "is champion" if promotion.promoted else f"is not promoted: {promotion.reason}"
    message = f"Version {promotion.version} ({promotion.candidate}) {outcome}."
    if not promotion.promoted:
        notify.send("Gradus: a run ended", message)
    return Completed(message=message)


def _with_parameters(targets: list[str], sets: list[str]) -> State[None]:
    status = run_at_commit.run(Console(stderr=True, width=120, markup=False), None, targets, False, False, sets)
    prefix = f"Run with {', '.join(sets)}: "
    if status == 130:  # stopped, as by Ctrl-C
        return Cancelled(message=f"{prefix}stopped.")
    if status:
        return Failed(message=f"{prefix}failed with exit status {status}; see its log.")
    return Completed(message=f"{prefix}finished; the result is on a branch runs/….")


@flow(name="evaluate_champion", on_failure=[failed], on_crashed=[failed])
def evaluate_champion() -> State[None]:
    """Evaluate the champion on the present questions, unless it has been, and send a message with the metrics."""
    settings = check()
    champion, today = registry.version_with_alias(registry.CHAMPION), eval_fingerprint.today(settings)
    if champion is None:
        return Completed(message="There is no champion yet.")
    if registry.scores(champion, today) is not None:
        return Completed(message=f"Version {champion.number}, the champion, was already asked these questions.")
    with suppress(InProgressError), liveness.exclusive("post_train"):  # a run in progress has recovered at its start
        recover(settings)
    figures = registry.scores(rescored(champion, today), today)
    assert figures is not None
    reached = ", ".join(f"{name.replace('_', ' ')} {100 * value:.1f}%" for name, value in figures.items())
    message = f"Version {champion.number}, the champion, on new questions: {reached}."
    notify.send("Gradus: the champion on new questions", message)
    return Completed(message=message)
