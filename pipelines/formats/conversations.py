"""Validation of conversations for fine-tuning, independent of their file format."""

from pipelines.models.messages import Message


class InvalidRowError(ValueError):
    """A row that a format cannot represent, or that is not a valid conversation; the message is a countable reason."""


def validated(messages: list[Message]) -> list[Message]:
    """Validate a conversation for fine-tuning: an optional system message, then alternating user and assistant turns.

    Raises:
        InvalidRowError: the conversation is not valid.
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


def split_system(messages: list[Message]) -> tuple[str, list[Message]]:
    """Split off the system message, empty if there is none, from the turns."""
    return (messages[0]["content"], messages[1:]) if messages[0]["role"] == "system" else ("", messages)
