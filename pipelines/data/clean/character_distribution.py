"""Texts whose letters are unlike everybody else's: Llama 3's KL filter (arXiv 2407.21783, 3.1.1).

Letters, not words as there: a new document of a small corpus is full of new words, while a page of any prose
already has the letters of its language. Keyboard noise and a repeated token do not.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import log
from string import ascii_lowercase

import numpy as np

_SMOOTHING = 1e-3  # added to the share of each letter in the reference
_IDEOGRAPHIC = frozenset({"CJK", "HIRAGANA", "KATAKANA"})

Letters = Counter[str]
Reference = Mapping[str, Mapping[str, float]]
"""For each script the logarithm of each letter's usual share; that of a letter never seen is under \"\"."""


def reference(sample: Sequence[Letters]) -> Reference:
    """Return the letters of the median text of each script.

    The median keeps junk out of it as long as junk is the smaller part. Chinese and Japanese have none: their
    characters are words rather than letters.
    """
    scripts = [_main_script(each) for each in sample]
    return {
        script: _median([each for each, its in zip(sample, scripts, strict=True) if its == script])
        for script in sorted(set(scripts) - {""} - _IDEOGRAPHIC)
    }


def divergence(found: Letters, reference: Reference) -> float:
    """Return KL(a text's letters || the usual ones of its script), in nats.

    0 for a text without letters and for a script without a reference: the other rules judge it.
    """
    usual = reference.get(_main_script(found))
    if usual is None:
        return 0.0
    total = found.total()
    return sum(count / total * (log(count / total) - usual.get(each, usual[""])) for each, count in found.items())


def letters(text: str) -> Letters:
    """Count letters without case and accents."""
    plain = text.lower() if text.isascii() else unicodedata.normalize("NFKD", text.casefold())
    codes, counts = np.unique(np.frombuffer(plain.encode("utf-32-le"), dtype=np.uint32), return_counts=True)
    found = zip(map(chr, codes.tolist()), counts.tolist(), strict=True)
    return Counter({character: count for character, count in found if character.isalpha()})


def _median(counts: Sequence[Letters]) -> dict[str, float]:
    alphabet = sorted(set().union(*counts))
    table = np.array([[each[letter] for letter in alphabet] for each in counts], dtype=np.float64)
    shares = np.median(table / table.sum(axis=1, keepdims=True), axis=0) + _SMOOTHING
    total = float(shares.sum())
    return {"": log(_SMOOTHING / total)} | dict(zip(alphabet, np.log(shares / total).tolist(), strict=True))


def _main_script(letters: Letters) -> str:
    if 2 * sum(map(letters.__getitem__, ascii_lowercase)) > letters.total():
        return "LATIN"  # which nearly every text is
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        scripts[_script(letter)] += count
    return max(sorted(scripts), key=scripts.__getitem__, default="")


@lru_cache(maxsize=1 << 16)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0].split("-")[0]
