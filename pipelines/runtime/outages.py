"""Messages for infrastructure errors that the user can fix: a full disk, an unreachable MLflow server."""

from pipelines.runtime import tracking_store
from pipelines.runtime.errors import UserError

FULL = ("No space left on device", "disk is full")


def sentence(error: BaseException) -> str | None:
    """Return the message for an error that the user can fix; None for any other error."""
    if isinstance(error, UserError):
        return str(error)
    if any(words in str(error) for words in FULL):
        return "the disk is full; free some room (`gradus gc` lists what can be removed), then `gradus run` resumes."
    if tracking_store.is_gone(error):
        return f"MLflow at {tracking_store.address()} does not answer; start it, then `gradus run` resumes."
    return None
