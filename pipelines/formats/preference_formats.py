"""Pairs of answers in the forms of the field: TRL's, and LLaMA-Factory's kinds of ShareGPT and Alpaca.

A pair is a conversation that ends in two ways, so both ends are written and read as conversations. TRL: `prompt`,
`chosen`, `rejected`, as messages, as text, or whole conversations without a prompt. ShareGPT: `conversations` is the
prompt, `chosen` and `rejected` a message each. Alpaca: `chosen` and `rejected` stand for `output`.
"""

from collections.abc import Callable
from typing import Any

from pipelines.artifacts import Row
from pipelines.formats.conversations import InvalidRowError, checked
from pipelines.models.messages import Message

SIDES = ("chosen", "rejected")
OWN = frozenset({"prompt", *SIDES})
COLUMNS = {"sharegpt": {"conversations"}, "alpaca": {"instruction"}, "trl": set[str]()}
"""What tells the forms apart, beside the sides."""


def is_pair(row: Row) -> bool:
    """Tell whether a row has a better and a worse answer."""
    return all(row.get(side) is not None for side in SIDES)


def write(row: Row, form: str, conversation: Callable[[list[Message]], Row]) -> Row:
    """Return a pair in a form, given how the form writes a conversation.

    Raises:
        UnfitError: the form has no pairs, or the row is none.
    """
    ends = {side: checked([*row["prompt"], *row[side]]) for side in SIDES}
    _look(ends, len(row["prompt"]))
    made = {side: conversation(messages) for side, messages in ends.items()}
    if form == "trl":
        return {"prompt": row["prompt"], **{side: row[side] for side in SIDES}}
    if form == "sharegpt":
        *prompt, _ = made["chosen"]["conversations"]
        return {"conversations": prompt, **{side: made[side]["conversations"][-1] for side in SIDES}}
    if form == "alpaca":
        rest = {column: value for column, value in made["chosen"].items() if column != "output"}
        return rest | {side: made[side]["output"] for side in SIDES}
    raise InvalidRowError("no_form_for_pairs")


def read(row: Row, form: str, conversation: Callable[[Row], list[Message]]) -> Row:
    """Return a pair of a form with `prompt`, `chosen` and `rejected` as messages.

    Raises:
        UnfitError: it is no pair of this form.
    """
    ends = {side: checked(conversation(_end(row, form, side))) for side in SIDES}
    *prompt, _ = ends["chosen"]
    _look(ends, len(prompt))
    return {"prompt": prompt, **{side: messages[-1:] for side, messages in ends.items()}}


def _end(row: Row, form: str, side: str) -> Row:
    """Return a pair with one of its ends alone, as a conversation of the form."""
    if form == "trl":
        return {"messages": _joined(row.get("prompt"), row[side])}
    if form == "sharegpt":
        return row | {"conversations": [*row["conversations"], row[side]]}
    if form == "alpaca":
        return row | {"output": row[side]}
    raise InvalidRowError("no_form_for_pairs")


def _joined(prompt: Any, end: Any) -> list[Message]:
    """Return TRL's prompt and one end as a conversation; the end may repeat the prompt, or hold it alone."""
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt or [])
    after = [{"role": "assistant", "content": end}] if isinstance(end, str) else list(end)
    if not before or len(after) == 1:
        return before + after
    if after[:-1][-len(before) :] != before:
        raise InvalidRowError("unlike_prompts")
    return after


def _look(ends: dict[str, list[Message]], prompt: int) -> None:
    chosen, rejected = ends.values()
    if chosen[:-1] != rejected[:-1]:
        raise InvalidRowError("unlike_prompts")
    if len(chosen) != prompt + 1:
        raise InvalidRowError("not_one_answer")
    if chosen[-1]["content"].strip() == rejected[-1]["content"].strip():
        raise InvalidRowError("same_answer")
