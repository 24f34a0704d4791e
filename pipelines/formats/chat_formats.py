"""Rows in the forms of the field: TRL's messages, ShareGPT, Alpaca, and Llama-2's text; pairs in the first three.

A row is a dictionary with `messages` (roles system, user, assistant), or `prompt`, `chosen` and `rejected`, each a list
of messages, and whatever else it carries. A form that cannot hold a row, or would change it, refuses it with a reason.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.artifacts import Row
from pipelines.formats import llama2, preference_formats
from pipelines.formats.conversations import InvalidRowError, checked, parted
from pipelines.models.messages import Message
from pipelines.text.encoding import encodable_value

_BROKEN = "\ufffd"
_TO_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}
_ROLES = {name: name for name in _TO_SHAREGPT} | {"human": "user", "gpt": "assistant", "model": "assistant"}


@dataclass(frozen=True)
class Form:
    """How conversations are written in a form and read from it. Both may raise UnfitError."""

    write: Callable[[list[Message]], Row]
    read: Callable[[Row], list[Message]]
    columns: frozenset[str]
    """Of every row of this form."""
    optional: frozenset[str] = frozenset()
    """Columns that only some rows have."""


def _from_trl(row: Row) -> list[Message]:
    return [_message(said) for said in row["messages"]]


def _to_sharegpt(messages: list[Message]) -> Row:
    return {"conversations": [{"from": _TO_SHAREGPT[each["role"]], "value": each["content"]} for each in messages]}


def _from_sharegpt(row: Row) -> list[Message]:
    return _with_system(row.get("system"), [_message(said) for said in row["conversations"]])


def _to_alpaca(messages: list[Message]) -> Row:
    system, turns = parted(messages)
    pairs = [[turns[at]["content"], turns[at + 1]["content"]] for at in range(0, len(turns), 2)]
    *history, (instruction, output) = pairs
    return {"instruction": instruction, "input": "", "output": output, "system": system, "history": history}


def _from_alpaca(row: Row) -> list[Message]:
    asked = "\n\n".join(text for text in (row["instruction"], row.get("input")) if text and text.strip())
    pairs = [*(row.get("history") or []), [asked, row["output"]]]
    said = [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return _with_system(row.get("system"), said)


def _message(said: Row) -> Message:
    """Return a message in either spelling: `from` and `value`, or `role` and `content`."""
    if said.get("tool_calls") or said.get("function_call"):
        raise InvalidRowError("calls_a_tool")
    role, text = (said[new] if new in said else said[old] for new, old in (("from", "role"), ("value", "content")))
    if role not in _ROLES:
        raise InvalidRowError("unknown_role")
    return {"role": _ROLES[role], "content": text}


def _with_system(system: Any, said: list[Message]) -> list[Message]:
    """Put a row's own system message first."""
    first = said[0] if said else None
    if not system or first == {"role": "system", "content": system}:
        return said
    if first is not None and first["role"] == "system":
        raise InvalidRowError("two_system_messages")
    return [{"role": "system", "content": system}, *said]


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
    """Return the rows in a form, with all else that they carry, and those that it cannot hold with a `reason`."""
    return _each(rows, lambda row: _write(row, form))


def read(rows: list[Row], form: str | None = None) -> tuple[list[Row], list[Row]]:
    """Return rows as conversations or pairs, and those that are none, each with its `reason`.

    Without a `form` the columns of each row tell it.
    """
    return _each(rows, lambda row: _read(row, form or form_of(row)))


def form_of(row: Row) -> str | None:
    """Return the form that a row's columns tell, or None. A column without a value tells nothing."""
    told = {name for name, value in row.items() if value is not None}
    if preference_formats.is_pair(row):
        return next(name for name, columns in preference_formats.COLUMNS.items() if columns <= told)
    return next((name for name, form in FORMS.items() if form.columns <= told), None)


def _write(row: Row, name: str) -> Row:
    form, pair = FORMS[name], preference_formats.is_pair(row)
    made = preference_formats.write(row, name, form.write) if pair else form.write(checked(row["messages"]))
    rest = {
        column: value
        for column, value in row.items()
        if column not in (preference_formats.OWN if pair else {"messages"})
    }
    if rest.keys() & (made.keys() | form.columns | form.optional):
        raise InvalidRowError("column_in_the_way")
    return made | rest


def _read(row: Row, name: str | None) -> Row:
    if name is None:
        raise InvalidRowError("no_known_form")
    if _is_broken(row):
        raise InvalidRowError("broken_characters")
    form, pair = FORMS[name], preference_formats.is_pair(row)
    try:
        made = preference_formats.read(row, name, lambda side: _settled(form.read(side))) if pair else None
        made = made or {"messages": checked(_settled(form.read(row)))}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise error if isinstance(error, InvalidRowError) else InvalidRowError("not_of_this_form") from error
    taken = form.columns | form.optional | (preference_formats.OWN if pair else frozenset())
    return made | {
        column: value
        for column, value in row.items()
        if column not in taken and not (value is None and column in _ANY)  # a table has every column in every row
    }


def _is_broken(row: Row) -> bool:
    """Tell whether a row holds half of a character, or U+FFFD, by which one was replaced when the file was read."""
    return _BROKEN in json.dumps(encodable_value(row), ensure_ascii=False)


def _settled(messages: list[Message]) -> list[Message]:
    """Leave out a system message that says nothing: many sets carry one in every row."""
    empty = bool(messages) and messages[0]["role"] == "system" and not (messages[0]["content"] or "").strip()
    return messages[1:] if empty else messages


def _each(rows: list[Row], change: Callable[[Row], Row]) -> tuple[list[Row], list[Row]]:
    good: list[Row] = []
    unfit: list[Row] = []
    for row in rows:
        try:
            good.append(change(row))
        except InvalidRowError as error:
            unfit.append({**row, "reason": str(error)})
    return good, unfit
