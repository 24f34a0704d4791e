"""Fill in the middle (Bavarian et al. 2022, arXiv:2207.14255): code read with its middle last.

A text is cut at two characters; half of those chosen read prefix, suffix, middle, the others suffix, prefix, middle.
One longer than a training sequence is cut into such as fit first, for a middle teaches nothing without its two sides.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipelines.models.chat import encode_text
from pipelines.runtime.errors import UserError

_KNOWN = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),  # Code Llama
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek
)


_ROOM = 8
"""Tokens to spare: three marks, and what a word costs more once it is cut."""


@dataclass(frozen=True)
class Sentinels:
    """The ids of the tokens before the prefix, the suffix and the middle."""

    prefix: int
    suffix: int
    middle: int


def sentinels(tok: PreTrainedTokenizerBase) -> Sentinels:
    """Return a tokenizer's own tokens for it.

    Raises:
        UserError: it has none, so that the model would have to learn them.
    """
    vocabulary = tok.get_vocab()
    for names in _KNOWN:
        if all(name in vocabulary for name in names):
            return Sentinels(*(vocabulary[name] for name in names))
    raise UserError(
        "pretrain.fim_rates: the tokenizer of the base model has no tokens for it; take a model made for code, "
        "or leave fim_rates empty."
    )


def fitting(tok: PreTrainedTokenizerBase, text: str, length: int) -> list[str]:
    """Cut a text where tokens begin, so that each part has room in `length` tokens with its middle last."""
    tokens = tok(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    starts = [start for start, _ in tokens["offset_mapping"]]
    room = max(1, length - _ROOM)
    cuts = [0, *starts[room::room], len(text)]
    return [text[start:end] for start, end in pairwise(cuts) if start < end]


def rearranged(tok: PreTrainedTokenizerBase, text: str, marks: Sentinels, rng: np.random.Generator) -> list[int]:
    """Return the tokens of a text with its middle last."""
    first, second = sorted(rng.integers(len(text) + 1, size=2).tolist())
    parts = text[:first], text[second:], text[first:second]
    prefix, suffix, middle = encode_text(tok, parts[0]), *(_going_on(tok, part) for part in parts[1:])
    if rng.random() < 0.5:
        return [marks.prefix, *prefix, marks.suffix, *suffix, marks.middle, *middle]
    return [marks.prefix, marks.suffix, *suffix, marks.middle, *prefix, *middle]


def _going_on(tok: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the tokens of what is no beginning; SentencePiece would put a space before it (Code Llama, 2.3)."""
    line, ids = encode_text(tok, "\n"), encode_text(tok, "\n" + text)
    return ids[len(line) :] if ids[: len(line)] == line else encode_text(tok, text)
