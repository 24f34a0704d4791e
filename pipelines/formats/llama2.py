"""Conversations as the text that Llama 2 was tuned on: `<s>[INST] question [/INST] answer </s>`, turn after turn.

The system message stands in the first question, between `<<SYS>>` and `<</SYS>>` (Touvron et al. 2023,
arXiv:2307.09288; the spaces and lines are those of Meta's own code, llama/generation.py).
"""

import re

from pipelines.formats.conversations import InvalidRowError, parted
from pipelines.models.messages import Message

_MARKS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>")
_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>(.*)", re.DOTALL)


def text_of(messages: list[Message]) -> str:
    """Write a checked conversation.

    Raises:
        UnfitError: it would not be read as it was, since it holds marks of the form or begins or ends with a space.
    """
    _without_marks(messages)
    if any(message["content"] != message["content"].strip() for message in messages):
        raise InvalidRowError("space_at_an_end")
    system, turns = parted(messages)
    head = f"<<SYS>>\n{system}\n<</SYS>>\n\n" if system else ""
    said = [message["content"] for message in turns]
    pairs = [f"{said[at]} [/INST] {said[at + 1]} </s>" for at in range(0, len(said), 2)]
    return "<s>[INST] " + head + "<s>[INST] ".join(pairs)


def messages_of(text: object) -> list[Message]:
    """Read a conversation; `<s>` and `</s>` may be missing, since many tokenizers add them themselves.

    Raises:
        UnfitError: it is none, or has marks where none belong.
    """
    head, *exchanges = text.split("[INST]") if isinstance(text, str) else [""]
    if head.strip() not in ("", "<s>") or not exchanges:
        raise InvalidRowError("not_of_this_form")
    messages: list[Message] = []
    for number, exchange in enumerate(exchanges):
        asked, mark, said = exchange.partition("[/INST]")
        if not mark:
            raise InvalidRowError("not_of_this_form")
        system = _SYSTEM.fullmatch(asked) if not number else None
        if system:
            messages.append({"role": "system", "content": system[1].strip()})
        messages.append({"role": "user", "content": (system[2] if system else asked).strip()})
        messages.append({"role": "assistant", "content": _without_ends(said)})
    _without_marks(messages)
    return messages


def _without_ends(said: str) -> str:
    """Return an answer without the end of its turn and the beginning of the next."""
    return said.strip().removesuffix("<s>").rstrip().removesuffix("</s>").strip()


def _without_marks(messages: list[Message]) -> None:
    if any(mark in message["content"] for message in messages for mark in _MARKS):
        raise InvalidRowError("marks_in_text")
