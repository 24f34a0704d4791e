"""Notifications, sent through the Prefect notification block that the variable `gradus_notify` names.

`gradus notify slack URL` creates the block and sets the variable; any Prefect notification block works. Without the
variable no message is sent. A failing block never fails a run.
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
    """Send messages to a webhook of kind `slack`, `teams`, `discord` or `webhook` (JSON).

    Raises:
        UserError: the kind is unknown, the address is invalid, or the test message is rejected.
    """
    if kind not in KINDS:
        raise UserError(f"{kind!r} is not a kind of notification; choose {', '.join(KINDS)}.")
    try:
        block = KINDS[kind](address)
        block.save(BLOCK, overwrite=True)
    except ValueError as error:
        raise UserError(f"This is not the address of a {kind} webhook: {_reason(error, address)}") from error
    Variable.set(NOTIFY, f"{block.get_block_type_slug()}/{BLOCK}", overwrite=True)
    if test:
        try:
            block.notify(body="Messages from Gradus arrive here.", subject="Gradus: test message")
        except Exception as error:  # noqa: BLE001  any traceback may show the address
            why = _reason(error, address)
            raise UserError(f"The {kind} webhook rejected the test message: {why}") from None


def _discord(address: str) -> Any:
    parts = urlsplit(address).path.strip("/").split("/")
    if len(parts) < 2:
        raise ValueError("it must end in /ID/TOKEN")
    return DiscordWebhook(webhook_id=SecretStr(parts[-2]), webhook_token=SecretStr(parts[-1]))


def _webhook(address: str) -> Any:
    fields = {"name": BLOCK, "url": address, "json_data": {"subject": "{{subject}}", "body": "{{body}}"}}
    return CustomWebhookNotificationBlock.model_validate(fields)


KINDS: dict[str, Callable[[str], Any]] = {
    "slack": lambda address: SlackWebhook(url=SecretStr(address)),
    "teams": lambda address: MicrosoftTeamsWebhook(url=SecretStr(address)),
    "discord": _discord,
    "webhook": _webhook,
}


def _reason(error: Exception, address: str) -> str:
    """Return the first line of an error without the address, which is a secret: it allows posting to the webhook."""
    return (str(error).replace(address, "…") or type(error).__name__).strip().splitlines()[0]


def send(subject: str, body: str) -> None:
    """Send a message if notifications are configured."""
    name: Any = Variable.get(NOTIFY)
    if not name:
        return
    try:
        Block.load(name).notify(body=body, subject=subject)  # type: ignore[union-attr]
    except Exception as error:  # noqa: BLE001  a failing block must not fail the run
        say(f"{name} could not send a message: {type(error).__name__}")  # its text may contain the webhook's address
