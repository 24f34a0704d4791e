"""Preference pairs in the formats of TRL, and in LLaMA-Factory's variants of ShareGPT and Alpaca.

A pair is a conversation with two alternative endings, so each ending is written and read as a conversation. TRL:
`prompt`, `chosen` and `rejected`, as messages, as text, or as full conversations without a prompt. ShareGPT:
`conversations` is the prompt, `chosen` and `rejected` are one message each. Alpaca: `chosen` and `rejected` replace
`output`.
"""

from collections.abc import Callable
from typing import Any

from pipelines.artifacts import Row
from pipelines.formats.conversations import InvalidRowError, validated
from pipelines.models.messages import Message

SIDES = ("chosen", "rejected")
PAIR_COLUMNS = frozenset({"prompt", *SIDES})
COLUMNS = {"sharegpt": {"conversations"}, "alpaca": {"instruction"}, "trl": set[str]()}
"""Columns that identify each format, in addition to the sides."""


def is_pair(row: Row) -> bool:
    """Return whether a row has a chosen and a rejected answer."""
    return all(row.get(side) is not None for side in SIDES)


def write(row: Row, form: str, conversation: Callable[[list[Message]], Row]) -> Row:
    """Write a pair in a format; `conversation` writes a conversation in that format.

    Raises:
        InvalidRowError: the format does not support pairs, or the row is not a valid pair.
    """
    ends = {side: validated([*row["prompt"], *row[side]]) for side in SIDES}
    _check_pair(ends, len(row["prompt"]))
    written = {side: conversation(messages) for side, messages in ends.items()}
    if form == "trl":
        return {"prompt": row["prompt"], **{side: row[side] for side in SIDES}}
    if form == "sharegpt":
        *prompt, _ = written["chosen"]["conversations"]
        return {"conversations": prompt, **{side: written[side]["conversations"][-1] for side in SIDES}}
    if form == "alpaca":
        rest = {column: value for column, value in written["chosen"].items() if column != "output"}
        return rest | {side: written[side]["output"] for side in SIDES}
    raise InvalidRowError("no_form_for_pairs")


def read(row: Row, form: str, conversation: Callable[[Row], list[Message]]) -> Row:
    """Parse a pair in a format into `prompt`, `chosen` and `rejected`, each a list of messages.

    Raises:
        InvalidRowError: the row is not a valid pair in this format.
    """
    ends = {side: validated(conversation(_end(row, form, side))) for side in SIDES}
    *prompt, _ = ends["chosen"]
    _check_pair(ends, len(prompt))
    return {"prompt": prompt, **{side: messages[-1:] for side, messages in ends.items()}}


def _end(row: Row, form: str, side: str) -> Row:
    """Return a pair with only one of its endings, as a conversation in the format."""
    if form == "trl":
        return {"messages": _joined(row.get("prompt"), row[side])}
    if form == "sharegpt":
        return row | {"conversations": [*row["conversations"], row[side]]}
    if form == "alpaca":
        return row | {"output": row[side]}
    raise InvalidRowError("no_form_for_pairs")


def _joined(prompt: Any, end: Any) -> list[Message]:
    """Join TRL's prompt and one ending to a conversation; the ending may repeat the prompt, or contain it alone."""
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt or [])
    after = [{"role": "assistant", "content": end}] if isinstance(end, str) else list(end)
    if not before or len(after) == 1:
        return before + after
    if after[:-1][-len(before) :] != before:
        raise InvalidRowError("unlike_prompts")
    return after


def _check_pair(ends: dict[str, list[Message]], prompt: int) -> None:
    chosen, rejected = ends.values()
    if chosen[:-1] != rejected[:-1]:
        raise InvalidRowError("unlike_prompts")
    if len(chosen) != prompt + 1:
        raise InvalidRowError("not_one_answer")
    if chosen[-1]["content"].strip() == rejected[-1]["content"].strip():
        raise InvalidRowError("same_answer")
