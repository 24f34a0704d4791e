"""Character-distribution filter: KL divergence of a document from the corpus (Llama 3, arXiv 2407.21783, 3.1.1).

Llama 3 compares tokens; this filter compares letters. In a small corpus a new document is full of new words, while any
page of prose has the letter frequencies of its language. Keyboard noise and a repeated token do not.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import log
from string import ascii_lowercase

import numpy as np

_SMOOTHING = 1e-3  # added to each letter's share in the reference
_IDEOGRAPHIC = frozenset({"CJK", "HIRAGANA", "KATAKANA"})

Letters = Counter[str]
Reference = Mapping[str, Mapping[str, float]]
"""Log share of each letter by script; the key \"\" has the log share of unseen letters."""


def reference(sample: Sequence[Letters]) -> Reference:
    """Return the median letter distribution of each script.

    The median is robust to junk as long as junk is the minority. Chinese and Japanese get no reference, because their
    characters are words rather than letters.
    """
    scripts = [_main_script(each) for each in sample]
    return {
        script: _median([each for each, its in zip(sample, scripts, strict=True) if its == script])
        for script in sorted(set(scripts) - {""} - _IDEOGRAPHIC)
    }


def divergence(counts: Letters, reference: Reference) -> float:
    """Return KL(text's letters || reference of its script), in nats.

    Return 0 for a text without letters or a script without a reference; these are left to the other rules.
    """
    expected = reference.get(_main_script(counts))
    if expected is None:
        return 0.0
    total = counts.total()
    return sum(
        count / total * (log(count / total) - expected.get(each, expected[""])) for each, count in counts.items()
    )


def letters(text: str) -> Letters:
    """Count letters, ignoring case and accents."""
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
        return "LATIN"  # fast path for most texts
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        scripts[_script(letter)] += count
    return max(sorted(scripts), key=scripts.__getitem__, default="")


@lru_cache(maxsize=1 << 16)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0].split("-")[0]
