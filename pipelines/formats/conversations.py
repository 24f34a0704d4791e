"""What a conversation must be to be learnt from, whatever the form that it is written in."""

from pipelines.models.messages import Message


class InvalidRowError(ValueError):
    """A row that a form cannot hold, or that is no conversation; the message is a reason that can be counted."""


def checked(messages: list[Message]) -> list[Message]:
    """Return a conversation that a model can be tuned on: at most one system message, first, then both sides in turn.

    Raises:
        UnfitError: it is not one.
    """
    if not all(isinstance(message["content"], str) for message in messages):
        raise InvalidRowError("not_text")
    turns = messages[1:] if messages and messages[0]["role"] == "system" else messages
    if not turns or len(turns) % 2:
        raise InvalidRowError("no_answer")
    if [message["role"] for message in turns] != ["user", "assistant"] * (len(turns) // 2):
        raise InvalidRowError("roles_out_of_turn")
    if not all(message["content"].strip() for message in messages):
        raise InvalidRowError("empty_message")
    return messages


def parted(messages: list[Message]) -> tuple[str, list[Message]]:
    """Return the system message, or an empty one, and the turns."""
    return (messages[0]["content"], messages[1:]) if messages[0]["role"] == "system" else ("", messages)
