"""Conversations in the Llama 2 prompt format: `<s>[INST] question [/INST] answer </s>` per turn.

The system message is part of the first question, between `<<SYS>>` and `<</SYS>>` (Touvron et al. 2023,
arXiv:2307.09288). Spaces and line breaks follow Meta's reference code, llama/generation.py.
"""

import re

from pipelines.formats.conversations import InvalidRowError, split_system
from pipelines.models.messages import Message

_MARKS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>")
_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>(.*)", re.DOTALL)


def text_of(messages: list[Message]) -> str:
    """Write a validated conversation.

    Raises:
        InvalidRowError: it would not survive a round trip, because a message contains the format's own marks or
            begins or ends with whitespace.
    """
    _without_marks(messages)
    if any(message["content"] != message["content"].strip() for message in messages):
        raise InvalidRowError("space_at_an_end")
    system, turns = split_system(messages)
    head = f"<<SYS>>\n{system}\n<</SYS>>\n\n" if system else ""
    texts = [message["content"] for message in turns]
    pairs = [f"{texts[at]} [/INST] {texts[at + 1]} </s>" for at in range(0, len(texts), 2)]
    return "<s>[INST] " + head + "<s>[INST] ".join(pairs)


def messages_of(text: object) -> list[Message]:
    """Parse a conversation; `<s>` and `</s>` are optional, since many tokenizers add them.

    Raises:
        InvalidRowError: it is not in this format, or has marks in unexpected places.
    """
    head, *exchanges = text.split("[INST]") if isinstance(text, str) else [""]
    if head.strip() not in ("", "<s>") or not exchanges:
        raise InvalidRowError("not_of_this_form")
    messages: list[Message] = []
    for number, exchange in enumerate(exchanges):
        question, mark, answer = exchange.partition("[/INST]")
        if not mark:
            raise InvalidRowError("not_of_this_form")
        system = _SYSTEM.fullmatch(question) if not number else None
        if system:
            messages.append({"role": "system", "content": system[1].strip()})
        messages.append({"role": "user", "content": (system[2] if system else question).strip()})
        messages.append({"role": "assistant", "content": _without_ends(answer)})
    _without_marks(messages)
    return messages


def _without_ends(answer: str) -> str:
    """Return an answer without its end-of-turn mark and the start of the next turn."""
    return answer.strip().removesuffix("<s>").rstrip().removesuffix("</s>").strip()


def _without_marks(messages: list[Message]) -> None:
    if any(mark in message["content"] for message in messages for mark in _MARKS):
        raise InvalidRowError("marks_in_text")
