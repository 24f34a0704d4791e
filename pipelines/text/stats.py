"""What is counted in a text, each thing once: words, lines, and runs of words that repeat.

Where words are not separated a run of them has twice as many characters as it has words elsewhere.
"""

import unicodedata
from collections.abc import Callable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipelines.text.words import unspaced, words

_FACTORS = np.random.default_rng(0).integers(2**62, size=20) * 2 + 1


class _WithoutMarks(dict[int, int | None]):
    """A translation that learns: marks that combine with a letter are left out."""

    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.combining(chr(code)) else code
        return self[code]


_WITHOUT_MARKS = _WithoutMarks()


class Text:
    """A text and what is counted in it, each thing once."""

    def __init__(self, text: str) -> None:
        """Look at `text`."""
        self.text = text
        self.words = words(text)
        self.lines = [line for line in map(str.strip, text.split("\n")) if line]
        self._runs = [np.fromiter(map(hash, self.words), dtype=np.int64)]

    @cached_property
    def _singles(self) -> int:
        return unspaced(self.text)

    @cached_property
    def unspaced(self) -> bool:
        """Whether most of its letters are of a script that does not separate words."""
        return self._singles > 0 and 2 * self._singles >= sum(map(str.isalpha, self.text)) > 0

    @cached_property
    def paragraphs(self) -> list[str]:
        """What stands between empty lines."""
        return [each for each in map(str.strip, self.text.split("\n\n")) if each]

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The characters up to each word, and up to the end."""
        return np.concatenate([[0], np.cumsum(np.fromiter(map(len, self.words), dtype=np.int64))])

    @property
    def characters(self) -> int:
        """How many the words have."""
        return int(self.lengths[-1])

    @cached_property
    def mean_word(self) -> float:
        """The characters of a word, a Korean syllable as its two or three letters; 5 where words are not separated."""
        if self.text.isascii():
            return self.characters / len(self.words)
        if self.unspaced:
            return 5.0
        letters = unicodedata.normalize("NFD", "".join(self.words)).translate(_WITHOUT_MARKS)
        return len(letters) / len(self.words)

    def per_word(self, count: int) -> float:
        """Return a count by the number of words."""
        return count / len(self.words)

    def of_lines(self, is_so: Callable[[str], object]) -> float:
        """Return the share of the lines of which something is so."""
        return sum(bool(is_so(line)) for line in self.lines) / len(self.lines)

    @cached_property
    def longest(self) -> int:
        """The characters of the longest word."""
        return max(map(len, self.words))

    @cached_property
    def word_count(self) -> float:
        """The number of words, a character of an unspaced script as half of one."""
        return len(self.words) - self._singles / 2

    def most(self, size: int) -> int:
        """Return the characters that a run of `size` words can have at most."""
        return size * self.longest * (2 if self.unspaced else 1)

    @cached_property
    def top_pair(self) -> int:
        """How often the most frequent run of 2 words stands there; no longer run is more frequent."""
        if len(self.runs(2)[0]) == 0:
            return 0
        ordered = np.sort(self.runs(2)[0])
        edges = np.concatenate([[-1], np.flatnonzero(ordered[1:] != ordered[:-1]), [len(ordered) - 1]])
        return int((edges[1:] - edges[:-1]).max())

    @cached_property
    def repeated_fives(self) -> int:
        """How many runs of 5 words have been seen before; of longer ones there are no more."""
        ordered = np.sort(self.runs(5)[0])
        return int(np.count_nonzero(ordered[1:] == ordered[:-1]))

    def runs(self, size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return a hash and the characters of every run of `size` words; equal runs have equal hashes."""
        size *= 2 if self.unspaced else 1
        hashes = self._hashes(size)
        return hashes, self.lengths[size:] - self.lengths[: len(hashes)]

    def _hashes(self, size: int) -> npt.NDArray[np.int64]:
        """Return the hashes of runs, made from those that are one word shorter."""
        while len(self._runs) < size:
            at = len(self._runs)
            self._runs.append(self._runs[-1][:-1] + self._runs[0][at:] * _FACTORS[at])
        return self._runs[size - 1]


def top_share(text: Text, size: int) -> float:
    """Return the share of the characters that one run of `size` words covers, when it stands there more than once."""
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
    """Return what `top_share` cannot exceed."""
    return text.top_pair * text.most(size) / text.characters


def repeated_bound(text: Text, size: int) -> float:
    """Return what `repeated_share` cannot exceed, for runs of 5 words and more."""
    return text.repeated_fives * text.most(size) / text.characters


def repeated_share(text: Text, size: int) -> float:
    """Return the share of the characters that lie in runs of `size` words seen before, each counted once."""
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
