"""What goes wrong around a program, as a sentence to act on: a full disk, an MLflow server that is gone."""

from pipelines.runtime import tracking
from pipelines.runtime.errors import UserError

FULL = ("No space left on device", "disk is full")


def sentence(error: BaseException) -> str | None:
    """Return what the user can do about `error`; None when that is not known."""
    if isinstance(error, UserError):
        return str(error)
    if any(words in str(error) for words in FULL):
        return "the disk is full; free some room (`gradus gc` shows what may go), then `gradus run` goes on."
    if tracking.is_gone(error):
        return f"MLflow at {tracking.address()} does not answer; start it, then `gradus run` goes on."
    return None
