"""Conversion of rows to and from chat formats: TRL messages, ShareGPT, Alpaca, Llama 2 text; pairs in the first three.

A row is a dictionary with `messages` (roles system, user, assistant), or with `prompt`, `chosen` and `rejected`, each a
list of messages, and any other columns. A row that a format cannot represent losslessly is rejected with a reason.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.artifacts import Row
from pipelines.formats import llama2, preference_formats
from pipelines.formats.conversations import InvalidRowError, split_system, validated
from pipelines.models.messages import Message
from pipelines.text.encoding import encodable_value

_BROKEN = "\ufffd"
_TO_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}
_ROLES = {name: name for name in _TO_SHAREGPT} | {"human": "user", "gpt": "assistant", "model": "assistant"}


@dataclass(frozen=True)
class Form:
    """Writes and reads conversations in one format. Both functions may raise InvalidRowError."""

    write: Callable[[list[Message]], Row]
    read: Callable[[Row], list[Message]]
    columns: frozenset[str]
    """Columns of every row in this format."""
    optional: frozenset[str] = frozenset()
    """Columns that only some rows have."""


def _from_trl(row: Row) -> list[Message]:
    return [_message(each) for each in row["messages"]]


def _to_sharegpt(messages: list[Message]) -> Row:
    return {"conversations": [{"from": _TO_SHAREGPT[each["role"]], "value": each["content"]} for each in messages]}


def _from_sharegpt(row: Row) -> list[Message]:
    return _with_system(row.get("system"), [_message(each) for each in row["conversations"]])


def _to_alpaca(messages: list[Message]) -> Row:
    system, turns = split_system(messages)
    pairs = [[turns[at]["content"], turns[at + 1]["content"]] for at in range(0, len(turns), 2)]
    *history, (instruction, output) = pairs
    return {"instruction": instruction, "input": "", "output": output, "system": system, "history": history}


def _from_alpaca(row: Row) -> list[Message]:
    question = "\n\n".join(text for text in (row["instruction"], row.get("input")) if text and text.strip())
    pairs = [*(row.get("history") or []), [question, row["output"]]]
    messages = [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return _with_system(row.get("system"), messages)


def _message(raw: Row) -> Message:
    """Parse a message with the keys `from` and `value`, or `role` and `content`."""
    if raw.get("tool_calls") or raw.get("function_call"):
        raise InvalidRowError("calls_a_tool")
    role, text = (raw[new] if new in raw else raw[old] for new, old in (("from", "role"), ("value", "content")))
    if role not in _ROLES:
        raise InvalidRowError("unknown_role")
    return {"role": _ROLES[role], "content": text}


def _with_system(system: Any, messages: list[Message]) -> list[Message]:
    """Prepend the system message of a row's own column."""
    first = messages[0] if messages else None
    if not system or first == {"role": "system", "content": system}:
        return messages
    if first is not None and first["role"] == "system":
        raise InvalidRowError("two_system_messages")
    return [{"role": "system", "content": system}, *messages]


FORMS: dict[str, Form] = {
    "trl": Form(lambda messages: {"messages": messages}, _from_trl, frozenset({"messages"})),
    "sharegpt": Form(_to_sharegpt, _from_sharegpt, frozenset({"conversations"}), frozenset({"system"})),
    "alpaca": Form(
        _to_alpaca,
        _from_alpaca,
        frozenset({"instruction", "output"}),
        frozenset({"input", "system", "history"}),
    ),
    "llama2": Form(
        lambda messages: {"text": llama2.text_of(messages)},
        lambda row: llama2.messages_of(row["text"]),
        frozenset({"text"}),
    ),
}
_ANY = frozenset[str]().union(*(form.columns | form.optional for form in FORMS.values()))


def written(rows: list[Row], form: str) -> tuple[list[Row], list[Row]]:
    """Return the rows in a format, with their other columns, and the rows it cannot represent, with a `reason`."""
    return _each(rows, lambda row: _write(row, form))


def read(rows: list[Row], form: str | None = None) -> tuple[list[Row], list[Row]]:
    """Return the rows as conversations or pairs, and the invalid rows, each with a `reason`.

    Without a `form`, the format is detected from the columns of each row.
    """
    return _each(rows, lambda row: _read(row, form or form_of(row)))


def form_of(row: Row) -> str | None:
    """Detect the format from a row's columns; None when unknown. Columns without a value are ignored."""
    present = {name for name, value in row.items() if value is not None}
    if preference_formats.is_pair(row):
        return next(name for name, columns in preference_formats.COLUMNS.items() if columns <= present)
    return next((name for name, form in FORMS.items() if form.columns <= present), None)


def _write(row: Row, name: str) -> Row:
    form, pair = FORMS[name], preference_formats.is_pair(row)
    written_row = preference_formats.write(row, name, form.write) if pair else form.write(validated(row["messages"]))
    rest = {
        column: value
        for column, value in row.items()
        if column not in (preference_formats.PAIR_COLUMNS if pair else {"messages"})
    }
    if rest.keys() & (written_row.keys() | form.columns | form.optional):
        raise InvalidRowError("column_in_the_way")
    return written_row | rest


def _read(row: Row, name: str | None) -> Row:
    if name is None:
        raise InvalidRowError("no_known_form")
    if _is_broken(row):
        raise InvalidRowError("broken_characters")
    form, pair = FORMS[name], preference_formats.is_pair(row)
    try:
        parsed = (
            preference_formats.read(row, name, lambda side: _without_empty_system(form.read(side))) if pair else None
        )
        parsed = parsed or {"messages": validated(_without_empty_system(form.read(row)))}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise error if isinstance(error, InvalidRowError) else InvalidRowError("not_of_this_form") from error
    taken = form.columns | form.optional | (preference_formats.PAIR_COLUMNS if pair else frozenset())
    return parsed | {
        column: value
        for column, value in row.items()
        if column not in taken and not (value is None and column in _ANY)  # tables fill absent columns with nulls
    }


def _is_broken(row: Row) -> bool:
    """Return whether a row contains a lone surrogate, or U+FFFD from replacing one when the file was read."""
    return _BROKEN in json.dumps(encodable_value(row), ensure_ascii=False)


def _without_empty_system(messages: list[Message]) -> list[Message]:
    """Drop an empty system message: many data sets have one in every row."""
    empty = bool(messages) and messages[0]["role"] == "system" and not (messages[0]["content"] or "").strip()
    return messages[1:] if empty else messages


def _each(rows: list[Row], change: Callable[[Row], Row]) -> tuple[list[Row], list[Row]]:
    good: list[Row] = []
    invalid: list[Row] = []
    for row in rows:
        try:
            good.append(change(row))
        except InvalidRowError as error:
            invalid.append({**row, "reason": str(error)})
    return good, invalid
