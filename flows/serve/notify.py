"""Messages to people, through the notification block of Prefect that the variable `gradus_notify` names.

`gradus notify slack URL` makes the block and sets the variable; any block that Prefect can notify through will do.
Without the variable no message is sent; a block that fails never fails a run.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from prefect.blocks.notifications import (
    CustomWebhookNotificationBlock,
    DiscordWebhook,
    MicrosoftTeamsWebhook,
    SlackWebhook,
)
from prefect.variables import Variable
from pydantic import SecretStr

from flows.serve.prefect_server import NOTIFY
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say

BLOCK = "gradus"


def set_up(kind: str, address: str, *, test: bool) -> None:
    """Have messages sent to a web hook: `slack`, `teams`, `discord`, or `webhook`, which gets JSON.

    Raises:
        UserError: there is no such kind, the address is none, or the test message is not taken.
    """
    if kind not in KINDS:
        raise UserError(f"{kind!r} is no kind of notification; choose {', '.join(KINDS)}.")
    try:
        block = KINDS[kind](address)
        block.save(BLOCK, overwrite=True)
    except ValueError as error:
        raise UserError(f"That is not the address of a web hook for {kind}: {_reason(error, address)}") from error
    Variable.set(NOTIFY, f"{block.get_block_type_slug()}/{BLOCK}", overwrite=True)
    if test:
        try:
            block.notify(body="Messages of Gradus arrive here.", subject="Gradus: a test")
        except Exception as error:  # noqa: BLE001  whatever it is, its traceback may show the address
            why = _reason(error, address)
            raise UserError(f"The test message was not taken by the {kind} hook: {why}") from None


def _discord(address: str) -> Any:
    parts = urlsplit(address).path.strip("/").split("/")
    if len(parts) < 2:
        raise ValueError("it ends in /ID/TOKEN")
    return DiscordWebhook(webhook_id=SecretStr(parts[-2]), webhook_token=SecretStr(parts[-1]))


def _webhook(address: str) -> Any:
    made = {"name": BLOCK, "url": address, "json_data": {"subject": "{{subject}}", "body": "{{body}}"}}
    return CustomWebhookNotificationBlock.model_validate(made)


KINDS: dict[str, Callable[[str], Any]] = {
    "slack": lambda address: SlackWebhook(url=SecretStr(address)),
    "teams": lambda address: MicrosoftTeamsWebhook(url=SecretStr(address)),
    "discord": _discord,
    "webhook": _webhook,
}


def _reason(error: Exception, address: str) -> str:
    """Return the first line of an error, without the address: who knows a web hook's address may post there."""
    return (str(error).replace(address, "…") or type(error).__name__).strip().splitlines()[0]


def send(subject: str, body: str) -> None:
    """Send a message, if there is somebody to send it to."""
    name: Any = Variable.get(NOTIFY)
    if not name:
        return
    try:
        Block.load(name).notify(body=body, subject=subject)  # type: ignore[union-attr]
    except Exception as error:  # noqa: BLE001  whatever a block raises, the run itself did not fail
        say(f"{name} took no message: {type(error).__name__}")  # its text may hold the hook's address
