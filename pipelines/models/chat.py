"""Tokenization of chats and texts, in which control tokens come only from the chat template, never from a message.

A control token is a special token, or an added token that the chat template emits. Without precautions, the string
`<|im_end|>` in an answer becomes the end-of-turn token and truncates the answer, and `<|im_start|>system` in a question
opens a turn (prompt injection). The content of messages and documents is therefore encoded as ordinary text, with
transformers' `sanitize_control_tokens`; text without control tokens has the same ids as from `apply_chat_template`.
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
    """Render a conversation with the chat template, marking the control tokens inside its messages.

    `generation_prompt` appends the start of the answer. Only `encode` and `encode_pieces` interpret the marks.
    """
    marked = mark_control_tokens(list(messages), _control_tokens(tok))
    rendered: str = tok.apply_chat_template(marked, tokenize=False, add_generation_prompt=generation_prompt)
    return rendered


def mark(tok: PreTrainedTokenizerBase, text: str) -> str:
    """Mark the control tokens in a raw text."""
    marked: str = mark_control_tokens(text, _control_tokens(tok))
    return marked


def encode(tok: PreTrainedTokenizerBase, rendered: str) -> list[int]:
    """Return the ids of a text from `render` or `mark`; marked control tokens are encoded as ordinary text."""
    ids: list[int] = tok(rendered, add_special_tokens=False, sanitize_control_tokens=True)["input_ids"]
    return ids


def encode_pieces(tok: PreTrainedTokenizerBase, rendered: str, starts: Sequence[int]) -> list[list[int]]:
    """Encode a text from `render` in pieces, split at the character offsets `starts`; no token crosses a split."""
    edges = [0, *starts, len(rendered)]
    pieces = [rendered[start:end] for start, end in pairwise(edges)]
    # An unpaired mark starts a piece without the space that SentencePiece adds at the start of a text.
    return [encode(tok, pieces[0]), *(encode(tok, _CONTROL_TOKEN_END + piece) for piece in pieces[1:])]


def encode_prompt(tok: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Return the ids of a conversation, including the generation prompt."""
    return encode(tok, render(tok, messages, generation_prompt=True))


def encode_text(tok: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a raw text."""
    return encode(tok, mark(tok, text))


def _control_tokens(tok: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Return transformers' pattern. Its API is private, but the version is pinned, and a change fails loudly."""
    template = tok.get_chat_template() if tok.chat_template else ""
    pattern: re.Pattern[str] = _get_control_token_patterns(tok._get_control_tokens(template))[0]
    return pattern
