"""Texts whose letters are unlike everybody else's: Llama 3's KL filter (arXiv 2407.21783, 3.1.1).

Letters, not words as there: a new document of a small corpus is full of new words, while a page of any prose
already has the letters of its language. Keyboard noise and a repeated token do not.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_SMOOTHING = 1e-3  # added to the share of each letter in the reference
_IDEOGRAPHIC = frozenset({"CJK", "HIRAGANA", "KATAKANA"})


def divergences(texts: Sequence[str]) -> list[float]:
    """Return for each text KL(its letters || the median text's letters of the same script), in nats.

    The median keeps junk out of the reference as long as it is the smaller part. A text without letters, or
    in Chinese or Japanese, whose characters are words rather than letters, gets 0: the other rules judge it.
    """
    counts = [_letters(text) for text in texts]
    scripts = [_main_script(letters) for letters in counts]
    result = [0.0] * len(texts)
    for script in sorted(set(scripts) - {""} - _IDEOGRAPHIC):
        members = [index for index, each in enumerate(scripts) if each == script]
        for index, value in zip(members, _from_median([counts[index] for index in members]), strict=True):
            result[index] = float(value)
    return result


def _from_median(counts: list[Counter[str]]) -> npt.NDArray[np.float64]:
    alphabet = sorted(set().union(*counts))
    table = np.array([[letters[letter] for letter in alphabet] for letters in counts], dtype=np.float64)
    p = table / table.sum(axis=1, keepdims=True)
    q = np.median(p, axis=0) + _SMOOTHING
    q /= q.sum()
    divergence: npt.NDArray[np.float64] = np.sum(p * np.log(np.where(p > 0, p, 1.0) / q), axis=1)
    return divergence


def _letters(text: str) -> Counter[str]:
    """Count letters without case and accents."""
    counts: Counter[str] = Counter()
    for character, count in Counter(unicodedata.normalize("NFKD", text.casefold())).items():
        if character.isalpha():
            counts[character] += count
    return counts


def _main_script(letters: Counter[str]) -> str:
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        scripts[_script(letter)] += count
    return max(sorted(scripts), key=scripts.__getitem__, default="")


@lru_cache(maxsize=1 << 16)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0].split("-")[0]
