"""Rows of conversations in the four forms of the field: TRL's messages, ShareGPT, Alpaca, and Llama-2's text.

A row is a dictionary with `messages` (roles system, user, assistant) and whatever else it carries. A form that cannot
hold a row, or would change it, refuses it with a reason: a system message in the middle, two turns of one side, marks
of the form in the text.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.messages import Message

Row = dict[str, Any]

_TO_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}
_FROM_SHAREGPT = {**{said: role for role, said in _TO_SHAREGPT.items()}, "user": "user", "assistant": "assistant"}
_MARKS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>")
_EXCHANGE = re.compile(r"<s>\s*\[INST\](.*?)\[/INST\](.*?)</s>", re.DOTALL)
_SYSTEM = re.compile(r"\s*<<SYS>>\n(.*?)\n<</SYS>>\n\n(.*)", re.DOTALL)


class UnfitError(ValueError):
    """A row that a form cannot hold; the message is a reason that can be counted."""


@dataclass(frozen=True)
class Form:
    """How rows are written in a form and read from it. Both raise UnfitError."""

    write: Callable[[list[Message]], Row]
    read: Callable[[Row], list[Message]]
    columns: frozenset[str]
    """Of a row of this form."""


def checked(messages: list[Message]) -> list[Message]:
    """Return a conversation that a model can be tuned on: at most one system message, first, then both sides in turn.

    Raises:
        UnfitError: it is not one.
    """
    turns = messages[1:] if messages and messages[0]["role"] == "system" else messages
    roles = [message["role"] for message in turns]
    if not turns or len(turns) % 2:
        raise UnfitError("no_answer")
    if roles != ["user", "assistant"] * (len(turns) // 2):
        raise UnfitError("roles_out_of_turn")
    if not all(isinstance(message["content"], str) and message["content"].strip() for message in messages):
        raise UnfitError("empty_message")
    return messages


def _read_trl(row: Row) -> list[Message]:
    try:
        return [{"role": each["role"], "content": each["content"]} for each in row["messages"]]
    except (KeyError, TypeError) as error:
        raise UnfitError("not_of_this_form") from error


def _to_sharegpt(messages: list[Message]) -> Row:
    return {"conversations": [{"from": _TO_SHAREGPT[each["role"]], "value": each["content"]} for each in messages]}


def _from_sharegpt(row: Row) -> list[Message]:
    try:
        said = [{"role": _FROM_SHAREGPT[each["from"]], "content": each["value"]} for each in row["conversations"]]
    except (KeyError, TypeError) as error:
        raise UnfitError("not_of_this_form") from error
    own = row.get("system")
    return [{"role": "system", "content": own}, *said] if own and said and said[0]["role"] != "system" else said


def _to_alpaca(messages: list[Message]) -> Row:
    system, turns = _parted(messages)
    pairs = [[turns[at]["content"], turns[at + 1]["content"]] for at in range(0, len(turns), 2)]
    *history, (instruction, output) = pairs
    return {"instruction": instruction, "input": "", "output": output, "system": system, "history": history}


def _from_alpaca(row: Row) -> list[Message]:
    try:
        asked = row["instruction"] + (f"\n\n{row['input']}" if row.get("input") else "")
        pairs = [*(row.get("history") or []), [asked, row["output"]]]
        said = [
            {"role": role, "content": text}
            for pair in pairs
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UnfitError("not_of_this_form") from error
    return [{"role": "system", "content": row["system"]}, *said] if row.get("system") else said


def _to_llama2(messages: list[Message]) -> Row:
    if any(mark in message["content"] for message in messages for mark in _MARKS):
        raise UnfitError("marks_in_text")
    if any(message["content"] != message["content"].strip() for message in messages):
        raise UnfitError("space_at_an_end")
    system, turns = _parted(messages)
    text = ""
    for at in range(0, len(turns), 2):
        head = f"<<SYS>>\n{system}\n<</SYS>>\n\n" if system and not at else ""
        text += f"<s>[INST] {head}{turns[at]['content']} [/INST] {turns[at + 1]['content']} </s>"
    return {"text": text}


def _from_llama2(row: Row) -> list[Message]:
    text = row.get("text")
    if not isinstance(text, str) or _EXCHANGE.sub("", text).strip():
        raise UnfitError("not_of_this_form")
    messages: list[Message] = []
    for asked, answered in _EXCHANGE.findall(text):
        system = _SYSTEM.fullmatch(asked) if not messages else None
        if system:
            messages.append({"role": "system", "content": system[1].strip()})
        messages.append({"role": "user", "content": (system[2] if system else asked).strip()})
        messages.append({"role": "assistant", "content": answered.strip()})
    return messages


def _parted(messages: list[Message]) -> tuple[str, list[Message]]:
    """Return the system message, if any, and the turns."""
    return (messages[0]["content"], messages[1:]) if messages[0]["role"] == "system" else ("", messages)


FORMS: dict[str, Form] = {
    "trl": Form(lambda messages: {"messages": messages}, _read_trl, frozenset({"messages"})),
    "sharegpt": Form(_to_sharegpt, _from_sharegpt, frozenset({"conversations"})),
    "alpaca": Form(_to_alpaca, _from_alpaca, frozenset({"instruction", "output"})),
    "llama2": Form(_to_llama2, _from_llama2, frozenset({"text"})),
}


def written(rows: list[Row], form: str) -> tuple[list[Row], list[Row]]:
    """Return the rows in a form, with all else that they carry, and those that it cannot hold with a `reason`."""
    return _each(rows, lambda row: FORMS[form].write(checked(row["messages"])) | _rest(row, frozenset({"messages"})))


def read(rows: list[Row], form: str) -> tuple[list[Row], list[Row]]:
    """Return rows of a form as conversations, and those that are none, each with its `reason`."""
    columns = FORMS[form].columns | {"input", "system", "history"}
    return _each(rows, lambda row: {"messages": checked(FORMS[form].read(row))} | _rest(row, columns))


def form_of(row: Row) -> str | None:
    """Return the form that a row's columns tell, or None."""
    return next((name for name, form in FORMS.items() if form.columns <= row.keys()), None)


def _rest(row: Row, columns: frozenset[str]) -> Row:
    return {name: value for name, value in row.items() if name not in columns}


def _each(rows: list[Row], change: Callable[[Row], Row]) -> tuple[list[Row], list[Row]]:
    good: list[Row] = []
    unfit: list[Row] = []
    for row in rows:
        try:
            good.append(change(row))
        except UnfitError as error:
            unfit.append({**row, "reason": str(error)})
    return good, unfit
