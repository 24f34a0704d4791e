"""Fill in the middle (Bavarian et al. 2022, arXiv:2207.14255): code read with its middle last.

A text is cut at two characters; half of those chosen read prefix, suffix, middle, the others suffix, prefix, middle.
"""

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipelines.errors import UserError

_KNOWN = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),  # Code Llama
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek
)


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
        "pretrain.fill_in_middle: the tokenizer of the base model has no tokens for it; take a model made for code, "
        "or leave fill_in_middle empty."
    )


def rearranged(tok: PreTrainedTokenizerBase, text: str, marks: Sentinels, rng: np.random.Generator) -> list[int]:
    """Return the tokens of a text with its middle last."""
    first, second = sorted(rng.integers(len(text) + 1, size=2).tolist())
    parts = text[:first], text[second:], text[first:second]
    prefix, suffix, middle = (tok(part, add_special_tokens=False)["input_ids"] for part in parts)
    if rng.random() < 0.5:
        return [marks.prefix, *prefix, marks.suffix, *suffix, marks.middle, *middle]
    return [marks.prefix, marks.suffix, *suffix, marks.middle, *prefix, *middle]
