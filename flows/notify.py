"""Word to people, through the notification block of Prefect that the variable `gradus_notify` names.

`prefect variable set gradus_notify slack-webhook/team`; any block that Prefect can notify through will do: a webhook,
e-mail, Slack. Without the variable nobody is told; a block that fails never fails a run.
"""

from typing import Any

from prefect.blocks.core import Block
from prefect.variables import Variable

from pipelines.progress import say

VARIABLE = "gradus_notify"


def tell(subject: str, body: str) -> None:
    """Send a message, if there is somebody to send it to."""
    name: Any = Variable.get(VARIABLE)
    if not name:
        return
    try:
        Block.load(name).notify(body=body, subject=subject)  # type: ignore[union-attr]
    except Exception as error:  # noqa: BLE001  whatever a block raises, the run itself did not fail
        say(f"{name} could not be told: {error}")
