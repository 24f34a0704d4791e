"""Chats and texts as token ids: control tokens come from the chat template alone, never from what a message says.

A control token is a special token, or an added token that the chat template writes. Without precautions the string
`<|im_end|>` in an answer becomes the end-of-turn token, which ends the answer there, and `<|im_start|>system` in a
question opens a turn (prompt injection). So whatever stands in a message or a document is encoded as ordinary text, as
transformers does with `sanitize_control_tokens`; text without control tokens has the ids of `apply_chat_template`.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import (
    _CONTROL_TOKEN_END,
    _get_control_token_patterns,
    mark_control_tokens,
)

from pipelines.models.messages import Message


def render(tok: PreTrainedTokenizerBase, messages: Sequence[Message], *, generation_prompt: bool) -> str:
    """Return a conversation as the template writes it, the control tokens inside its messages marked.

    A `generation_prompt` at the end opens the answer. Only `encode` and `encode_pieces` know the marks.
    """
    marked = mark_control_tokens(list(messages), _control_tokens(tok))
    rendered: str = tok.apply_chat_template(marked, tokenize=False, add_generation_prompt=generation_prompt)
    return rendered


def mark(tok: PreTrainedTokenizerBase, text: str) -> str:
    """Return a raw text, the control tokens in it marked."""
    marked: str = mark_control_tokens(text, _control_tokens(tok))
    return marked


def encode(tok: PreTrainedTokenizerBase, rendered: str) -> list[int]:
    """Return the ids of a text from `render` or `mark`; what is marked becomes ordinary text."""
    ids: list[int] = tok(rendered, add_special_tokens=False, sanitize_control_tokens=True)["input_ids"]
    return ids


def encode_pieces(tok: PreTrainedTokenizerBase, rendered: str, starts: Sequence[int]) -> list[list[int]]:
    """Encode a text from `render` as pieces, cut at the characters `starts`: no token crosses a cut."""
    edges = [0, *starts, len(rendered)]
    pieces = [rendered[start:end] for start, end in pairwise(edges)]
    # A mark without its partner breaks a text without SentencePiece's space at the start of a new one.
    return [encode(tok, pieces[0]), *(encode(tok, _CONTROL_TOKEN_END + piece) for piece in pieces[1:])]


def encode_prompt(tok: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Return the ids of a conversation up to where its next answer begins."""
    return encode(tok, render(tok, messages, generation_prompt=True))


def encode_text(tok: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a raw text."""
    return encode(tok, mark(tok, text))


def _control_tokens(tok: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Return transformers' own pattern, whose names are private; transformers is pinned, and a change fails loudly."""
    template = tok.get_chat_template() if tok.chat_template else ""
    pattern: re.Pattern[str] = _get_control_token_patterns(tok._get_control_tokens(template))[0]
    return pattern
