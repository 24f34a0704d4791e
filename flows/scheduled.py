"""What a schedule runs (prefect.yaml): the whole pipeline when something changed, and word of how it went.

Alone: gradus up
"""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from rich.console import Console

from flows import graph, ledger, notify
from flows.post_train import FINAL, post_train
from flows.preflight import check
from flows.process import end_orphans


def failed(flow: Any, flow_run: Any, state: State[Any]) -> None:
    """Tell that a scheduled run failed or crashed."""
    notify.tell(f"Gradus: {flow_run.name} {state.name.lower() if state.name else 'failed'}", state.message or "")


@flow(name="retrain", on_failure=[failed], on_crashed=[failed])
def retrain() -> State[None]:
    """Run the pipeline when anything it reads has changed, and tell what became of the candidate."""
    settings = check()
    end_orphans()
    ledger.mend()
    if not ledger.changes(graph.read().towards([FINAL])):
        return Completed(message="Nothing changed since the last run; nothing was started.")
    promotion = post_train(settings, Console(stderr=True, width=120), [FINAL], False)
    assert promotion is not None
    outcome = "is champion" if promotion.promoted else f"is not promoted: {promotion.reason}"
    said = f"Version {promotion.version} ({promotion.candidate}) {outcome}."
    notify.tell("Gradus: a new champion" if promotion.promoted else "Gradus: a run ended", said)
    return Completed(message=said)
