"""Index of n-grams that finds the spans of consecutive words that a text shares with any of its items.

A shared n-gram is extended in both directions to the longest common span. The span is reported as a share of the item
and of the document: a document may contain a question, and a question may contain a short document.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.text.ngrams import runs
from pipelines.text.words import common_prefix, normalise


@dataclass(frozen=True)
class Item:
    """Evaluation or held-out text that must not be trained on; `source` is its file or document."""

    id: str
    source: str
    text: str


@dataclass(frozen=True)
class Overlap:
    """A maximal span that an item and a document share; `at` is its start in the item and `words` its length."""

    item: int
    at: int
    words: int
    item_share: float
    document_share: float


class Index:
    """Index of the items' n-grams of `words` words; a shorter item of at least `fewest` words is indexed whole."""

    def __init__(self, items: Sequence[Item], words: int, fewest: int, stride: int = 1) -> None:
        """Index every `stride`-th n-gram of each item."""
        self.items = items
        self.words = [normalise(item.text).split(" ") for item in items]
        places: dict[int, list[tuple[int, int, int]]] = {}
        for number, found in enumerate(self.words):
            size = min(words, len(found))
            if size >= min(fewest, words):
                hashes = runs(" ".join(found), size)[::stride].tolist()
                places.setdefault(size, []).extend((ngram, number, at * stride) for at, ngram in enumerate(hashes))
        self.places = {size: sorted(found) for size, found in sorted(places.items())}
        self.hashes = {size: np.array([ngram for ngram, *_ in found], np.uint64) for size, found in self.places.items()}

    def overlaps(self, text: str) -> list[Overlap]:
        """Return every maximal span that a text shares with an item and that contains an indexed n-gram."""
        normal = normalise(text)
        words = normal.split(" ")
        found: list[Overlap] = []
        ends: dict[tuple[int, int], int] = {}  # end of the last span, by item and offset between text and item
        for size, known in self.hashes.items():
            hashes = runs(normal, size)
            places = np.searchsorted(known, hashes)
            places[places == len(known)] = 0
            for at in np.flatnonzero(known[places] == hashes).tolist():
                for ngram, item, start in self.places[size][int(places[at]) :]:
                    if ngram != int(hashes[at]):
                        break
                    if at < ends.get((item, at - start), 0):
                        continue  # inside that span
                    span = self._extended(words, at, item, start, size)
                    if span:
                        found.append(span)
                        ends[item, at - start] = span.at + span.words + at - start
        return found

    def span(self, overlap: Overlap) -> str:
        """Return the words of an overlap."""
        return " ".join(self.words[overlap.item][overlap.at : overlap.at + overlap.words])

    def _extended(self, words: list[str], at: int, item: int, start: int, size: int) -> Overlap | None:
        others = self.words[item]
        if words[at : at + size] != others[start : start + size]:
            return None  # hash collision
        before = common_prefix(reversed(words[:at]), reversed(others[:start]))
        after = common_prefix(words[at + size :], others[start + size :])
        length = before + size + after
        return Overlap(item, start - before, length, length / len(others), length / len(words))
