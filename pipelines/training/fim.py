"""Fill-in-the-middle (FIM, Bavarian et al. 2022, arXiv:2207.14255): code with its middle moved to the end.

A text is split at two random characters; half of the texts are in the order prefix, suffix, middle (PSM), half in SPM.
Texts longer than a training sequence are split first, because a middle without its context teaches nothing. Each row
ends as a document does, which tells the model where a middle meets its suffix (section 3).
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


_RESERVED = 10
"""Reserved tokens: three sentinels, the beginning and end of the row, and the extra tokens of a word split in two."""


@dataclass(frozen=True)
class Sentinels:
    """Ids of the sentinel tokens before the prefix, the suffix and the middle."""

    prefix: int
    suffix: int
    middle: int


def sentinels(tok: PreTrainedTokenizerBase) -> Sentinels:
    """Return the tokenizer's FIM sentinels.

    Raises:
        UserError: the tokenizer has no FIM tokens, so the model would have to learn them.
    """
    vocabulary = tok.get_vocab()
    for names in _KNOWN:
        if all(name in vocabulary for name in names):
            return Sentinels(*(vocabulary[name] for name in names))
    raise UserError(
        "pretrain.fim_rates: the tokenizer of the base model has no FIM tokens; use a code model, "
        "or leave fim_rates empty."
    )


def split_to_fit(tok: PreTrainedTokenizerBase, text: str, length: int) -> list[str]:
    """Split a text at token boundaries into parts that fit in `length` tokens after rearranging."""
    tokens = tok(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    starts = [start for start, _ in tokens["offset_mapping"]]
    capacity = max(1, length - _RESERVED)
    cuts = [0, *starts[capacity::capacity], len(text)]
    return [text[start:end] for start, end in pairwise(cuts) if start < end]


def rearrange(tok: PreTrainedTokenizerBase, text: str, marks: Sentinels, rng: np.random.Generator) -> list[int]:
    """Return the tokens of a text in PSM or SPM order, with the middle last."""
    first, second = sorted(rng.integers(len(text) + 1, size=2).tolist())
    parts = text[:first], text[second:], text[first:second]
    prefix, suffix, middle = encode_text(tok, parts[0]), *(_encode_continuation(tok, part) for part in parts[1:])
    if rng.random() < 0.5:
        return [marks.prefix, *prefix, marks.suffix, *suffix, marks.middle, *middle]
    return [marks.prefix, marks.suffix, *suffix, marks.middle, *prefix, *middle]


def _encode_continuation(tok: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Encode a continuation; SentencePiece would prepend a space (Code Llama, section 2.3)."""
    line, ids = encode_text(tok, "\n"), encode_text(tok, "\n" + text)
    return ids[len(line) :] if ids[: len(line)] == line else encode_text(tok, text)
