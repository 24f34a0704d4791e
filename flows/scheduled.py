"""What a schedule runs (prefect.yaml): the pipeline when something changed, the champion's exam when questions did.

Alone: gradus up
"""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed
from rich.console import Console

from flows.commands import run_at_commit
from flows.dag import dvc_lock, graph
from flows.post_train import post_train
from flows.preflight import check
from flows.promotion import eval_fingerprint
from flows.promotion.evaluate_version import rescored
from flows.run.recovery import recover
from flows.serve import notify
from pipelines.models import registry


def failed(flow: Any, flow_run: Any, state: State[Any]) -> None:
    """Tell that a scheduled run failed or crashed."""
    notify.send(f"Gradus: {flow_run.name} {state.name.lower() if state.name else 'failed'}", state.message or "")


@flow(name="retrain", on_failure=[failed], on_crashed=[failed])
def retrain(stages: list[str] | None = None, set: list[str] | None = None) -> State[None]:
    """Run the pipeline when anything it reads has changed, and send a message when the candidate is not promoted.

    `stages` names the stages to run, with what they need; all when there is none. With `set`, as in `sft.epochs=8`,
    HEAD runs with these parameters in a worktree of its own, as `gradus run --set` does.
    """
    settings = check()
    recover(settings)
    targets = stages or []
    if set:
        return _with_parameters(targets, set)
    if not dvc_lock.changes(graph.read().towards(targets)):
        return Completed(message="Nothing changed since the last run; nothing was started.")
    try:
        promotion = post_train(settings, Console(stderr=True, width=120), targets, False)
    except KeyboardInterrupt:
        return Cancelled(message="Stopped. What was finished stays; the next run goes on from there.")
    if promotion is None:
        return Completed(message=f"{', '.join(targets)} ran; nothing was to be promoted.")
    outcome = "is champion" if promotion.promoted else f"is not promoted: {promotion.reason}"
    said = f"Version {promotion.version} ({promotion.candidate}) {outcome}."
    if not promotion.promoted:
        notify.send("Gradus: a run ended", said)
    return Completed(message=said)


def _with_parameters(targets: list[str], sets: list[str]) -> State[None]:
    status = run_at_commit.run(Console(stderr=True, width=120), None, targets, False, False, sets)
    said = f"Run with {', '.join(sets)}: "
    if status == 130:  # stopped, as by Ctrl-C
        return Cancelled(message=f"{said}stopped.")
    if status:
        return Failed(message=f"{said}it ended with exit status {status}; its log says why.")
    return Completed(message=f"{said}finished; its result is on a branch runs/….")


@flow(name="examine", on_failure=[failed], on_crashed=[failed])
def evaluate_champion() -> State[None]:
    """Put the champion to today's exam, unless it has sat it, and tell how it did."""
    settings = check()
    champion, today = registry.version_with_alias(registry.CHAMPION), eval_fingerprint.today(settings)
    if champion is None:
        return Completed(message="There is no champion yet.")
    if registry.scores(champion, today) is not None:
        return Completed(message=f"Version {champion.number}, the champion, has been asked these questions.")
    recover(settings)
    figures = registry.scores(rescored(champion, today), today)
    assert figures is not None
    reached = ", ".join(f"{name.replace('_', ' ')} {100 * value:.1f}%" for name, value in figures.items())
    said = f"Version {champion.number}, the champion, on fresh questions: {reached}."
    notify.send("Gradus: the champion on fresh questions", said)
    return Completed(message=said)
