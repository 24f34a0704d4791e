"""Cached text statistics: words, lines, and repeated n-grams.

In scripts without word separators, an n-gram of n words is counted as 2n characters.
"""

import unicodedata
from collections.abc import Callable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipelines.text.words import unspaced, words

_FACTORS = np.random.default_rng(0).integers(2**62, size=20) * 2 + 1


class _WithoutMarks(dict[int, int | None]):
    """Lazily filled translation table that removes combining marks."""

    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.combining(chr(code)) else code
        return self[code]


_WITHOUT_MARKS = _WithoutMarks()


class Text:
    """A text with its statistics, each computed at most once."""

    def __init__(self, text: str) -> None:
        """Split `text` into words and lines."""
        self.text = text
        self.words = words(text)
        self.lines = [line for line in map(str.strip, text.split("\n")) if line]
        self._runs = [np.fromiter(map(hash, self.words), dtype=np.int64)]

    @cached_property
    def _singles(self) -> int:
        return unspaced(self.text)

    @cached_property
    def unspaced(self) -> bool:
        """Whether at least half of the letters belong to scripts without word separators."""
        return self._singles > 0 and 2 * self._singles >= sum(map(str.isalpha, self.text)) > 0

    @cached_property
    def paragraphs(self) -> list[str]:
        """The blocks of text between empty lines."""
        return [each for each in map(str.strip, self.text.split("\n\n")) if each]

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The cumulative number of characters before each word, and in total."""
        return np.concatenate([[0], np.cumsum(np.fromiter(map(len, self.words), dtype=np.int64))])

    @property
    def characters(self) -> int:
        """The number of characters in all words."""
        return int(self.lengths[-1])

    @cached_property
    def mean_word(self) -> float:
        """The mean word length; Korean syllables count as their two or three letters, and unspaced scripts as 5."""
        if self.text.isascii():
            return self.characters / len(self.words)
        if self.unspaced:
            return 5.0
        letters = unicodedata.normalize("NFD", "".join(self.words)).translate(_WITHOUT_MARKS)
        return len(letters) / len(self.words)

    def per_word(self, count: int) -> float:
        """Divide a count by the number of words."""
        return count / len(self.words)

    def of_lines(self, is_so: Callable[[str], object]) -> float:
        """Return the fraction of lines that satisfy a predicate."""
        return sum(bool(is_so(line)) for line in self.lines) / len(self.lines)

    @cached_property
    def longest(self) -> int:
        """The length of the longest word."""
        return max(map(len, self.words))

    @cached_property
    def word_count(self) -> float:
        """The number of words; a character of an unspaced script counts as half a word."""
        return len(self.words) - self._singles / 2

    def most(self, size: int) -> int:
        """Return an upper bound on the characters of an n-gram of `size` words."""
        return size * self.longest * (2 if self.unspaced else 1)

    @cached_property
    def top_pair(self) -> int:
        """The count of the most frequent bigram, which bounds the count of every longer n-gram."""
        if len(self.runs(2)[0]) == 0:
            return 0
        ordered = np.sort(self.runs(2)[0])
        edges = np.concatenate([[-1], np.flatnonzero(ordered[1:] != ordered[:-1]), [len(ordered) - 1]])
        return int((edges[1:] - edges[:-1]).max())

    @cached_property
    def repeated_fives(self) -> int:
        """The number of repeated 5-grams, which bounds the number of longer repeated n-grams."""
        ordered = np.sort(self.runs(5)[0])
        return int(np.count_nonzero(ordered[1:] == ordered[:-1]))

    def runs(self, size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the hash and the number of characters of every n-gram of `size` words."""
        size *= 2 if self.unspaced else 1
        hashes = self._hashes(size)
        return hashes, self.lengths[size:] - self.lengths[: len(hashes)]

    def _hashes(self, size: int) -> npt.NDArray[np.int64]:
        """Return the hashes of n-grams of `size` words, computed from the (n-1)-grams."""
        while len(self._runs) < size:
            at = len(self._runs)
            self._runs.append(self._runs[-1][:-1] + self._runs[0][at:] * _FACTORS[at])
        return self._runs[size - 1]


def top_share(text: Text, size: int) -> float:
    """Return the fraction of characters covered by the repeated n-gram of `size` words that covers most."""
    hashes, characters = text.runs(size)
    order = np.argsort(hashes)
    ordered = hashes[order]
    first = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
    if len(first) >= len(order):
        return 0.0
    counts = np.append(first[1:], len(order)) - first
    covered = (counts * characters[order[first]])[counts > 1]
    return min(1.0, int(covered.max()) / text.characters)


def top_bound(text: Text, size: int) -> float:
    """Return an upper bound of `top_share`."""
    return text.top_pair * text.most(size) / text.characters


def repeated_bound(text: Text, size: int) -> float:
    """Return an upper bound of `repeated_share`, for n-grams of 5 words and more."""
    return text.repeated_fives * text.most(size) / text.characters


def repeated_share(text: Text, size: int) -> float:
    """Return the fraction of characters in repeated n-grams of `size` words; overlaps are counted once."""
    hashes, characters = text.runs(size)
    order = np.argsort(hashes, kind="stable")
    again = np.sort(order[1:][hashes[order[1:]] == hashes[order[:-1]]]).tolist()
    length = len(text.words) - len(hashes) + 1
    covered = end = 0
    for place in again:
        if place >= end:
            covered += int(characters[place])
            end = place + length
    return covered / text.characters
