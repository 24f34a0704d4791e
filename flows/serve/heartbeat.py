"""Detect runs that died with their machine or worker, by missing heartbeats.

Standalone: python -m flows.serve.heartbeat.

A flow sends Prefect a heartbeat every 30 seconds (flows/__init__.py). An automation marks a run as crashed after three
missed heartbeats, and sends a message if notifications are configured (flows/serve/notify.py).
"""

from datetime import timedelta
from typing import Any

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.variables import Variable

from flows.serve.prefect_server import NOTIFY

NAME = "gradus: silent runs have crashed"
BEAT = "prefect.flow-run.heartbeat"
ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
PATIENCE = timedelta(seconds=90)


def watch(patience: timedelta = PATIENCE) -> None:
    """Create the automation in Prefect, replacing an earlier one."""
    crash = ChangeFlowRunState(name=None, state=StateType.CRASHED, message="No heartbeat received.", force=False)
    automation = AutomationCore(
        name=NAME,
        trigger=EventTrigger(
            after={BEAT},
            expect={BEAT, *(f"prefect.flow-run.{end}" for end in ENDS)},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=patience,
        ),
        actions=[crash, *_notification()],
    )
    with get_client(sync_client=True) as client:
        for earlier in client.read_automations_by_name(NAME):
            client.delete_automation(earlier.id)
        client.create_automation(automation)


def _notification() -> list[SendNotification]:
    name: Any = Variable.get(NOTIFY)
    if not name:
        return []
    block: Any = Block.load(name)
    body = "{{ flow_run.name }} sent no heartbeat: its machine or its worker is down."
    return [SendNotification(block_document_id=block._block_document_id, subject="Gradus: a run crashed", body=body)]


if __name__ == "__main__":
    watch()
