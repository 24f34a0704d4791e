"""Tokenization of chats and texts, in which control tokens come only from the chat template, never from a message.

A control token is a special token, or an added token that the chat template emits. Without precautions, the string
`<|im_end|>` in an answer becomes the end-of-turn token and truncates the answer, and `<|im_start|>system` in a question
opens a turn (prompt injection). The content of messages and documents is therefore encoded as ordinary text, with
transformers' `sanitize_control_tokens`; text without control tokens has the same ids as from `apply_chat_template`.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import (
    _CONTROL_TOKEN_END,
    _get_control_token_patterns,
    mark_control_tokens,
    render_jinja_template,
)

from pipelines.models.messages import Message
from pipelines.runtime.errors import UserError

PLACEHOLDER = "\N{SYMBOL FOR UNIT SEPARATOR}"
"""A message whose place in a rendered conversation is looked for."""
_LEARNT = re.compile(r"\{%-?\s*generation\s*-?%\}")


def render(tok: PreTrainedTokenizerBase, messages: Sequence[Message], *, generation_prompt: bool) -> str:
    """Render a conversation with the chat template, marking the control tokens inside its messages.

    `generation_prompt` appends the start of the answer. Only `encode` and `encode_pieces` interpret the marks.

    Raises:
        UserError: the template is invalid, or does not accept the conversation.
    """
    try:
        marked = mark_control_tokens(list(messages), _pattern(tok))
        rendered: str = tok.apply_chat_template(marked, tokenize=False, add_generation_prompt=generation_prompt)
    except (TemplateError, TypeError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise UserError(
            f"The chat template cannot render a conversation of {roles}: {error}; set another in base.chat_template."
        ) from error
    return rendered


def render_prompts(tok: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[str]:
    """Render the prompt of every answer of a conversation: the messages before it and the start of the answer."""
    turns = [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]
    return [render(tok, messages[:turn], generation_prompt=True) for turn in turns]


def extends_prompts(tok: PreTrainedTokenizerBase, messages: Sequence[Message]) -> bool:
    """Return whether the rendered conversation begins with the prompt of every answer of it."""
    rendered = render(tok, messages, generation_prompt=False)
    return all(map(rendered.startswith, render_prompts(tok, messages)))


def learnt_spans(tok: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[tuple[int, int]] | None:
    """Return the spans of characters between `{% generation %}` marks; None if the template has no marks."""
    template = tok.get_chat_template()
    if not _LEARNT.search(template):
        return None
    marked = mark_control_tokens(list(messages), _pattern(tok))
    _, spans = render_jinja_template(
        [marked], chat_template=template, return_assistant_tokens_mask=True, **tok.special_tokens_map
    )
    return [(start, end) for start, end in spans[0]]


def mark(tok: PreTrainedTokenizerBase, text: str) -> str:
    """Mark the control tokens in a raw text."""
    marked: str = mark_control_tokens(text, _pattern(tok))
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
    """Return the ids of a raw text, without special tokens."""
    return encode(tok, mark(tok, text))


def beginning(tok: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens that the tokenizer puts in front of a text: BOS in most families, none in some."""
    ids: list[int] = tok("")["input_ids"]
    return ids[:-1] if ids and ids[-1] == tok.eos_token_id else ids


def control_tokens(tok: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return the control tokens, from transformers. Its API is private, but pinned, and a change fails loudly."""
    names: tuple[str, ...] = tok._get_control_tokens(tok.get_chat_template() if tok.chat_template else "")
    return names


def _pattern(tok: PreTrainedTokenizerBase) -> re.Pattern[str]:
    pattern: re.Pattern[str] = _get_control_token_patterns(control_tokens(tok))[0]
    return pattern
