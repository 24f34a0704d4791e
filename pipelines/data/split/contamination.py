"""Decontamination by n-gram overlap of training documents with evaluation data (Brown et al. 2020, appendix C).

A shared n-gram is extended in both directions to the longest common span. The span is reported as a share of the item
and of the document: a document may contain a question, and a question may contain a short document.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import artifacts
from pipelines.data import documents
from pipelines.data.documents import Document
from pipelines.runtime.errors import UserError
from pipelines.text.ngrams import runs
from pipelines.text.words import common_prefix, normalise

_FIELDS = ("question", "prompt", "instruction", "text")
SEPARATOR = "\n\n"


@dataclass(frozen=True)
class Item:
    """Evaluation text that must not be trained on; `source` is its file or document."""

    id: str
    source: str
    text: str


@dataclass(frozen=True)
class Overlap:
    """The longest span that an item and a document share; `at` is its start in the item and `words` its length."""

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
        """Return the longest span that each item shares with a text."""
        normal = normalise(text)
        words = normal.split(" ")
        longest: dict[int, Overlap] = {}
        for size, known in self.hashes.items():
            hashes = runs(normal, size)
            places = np.searchsorted(known, hashes)
            places[places == len(known)] = 0
            for at in np.flatnonzero(known[places] == hashes).tolist():
                for ngram, item, start in self.places[size][int(places[at]) :]:
                    if ngram != int(hashes[at]):
                        break
                    span = self._extended(words, at, item, start, size)
                    if span and (item not in longest or span.words > longest[item].words):
                        longest[item] = span
        return [longest[item] for item in sorted(longest)]

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


def items(folder: Path) -> list[Item]:
    """Return the evaluation items in a folder's JSONL files; the list is empty if they have no rows yet.

    Raises:
        UserError: no row has one of the known text fields.
    """
    found, rows = [], 0
    for path in sorted(folder.rglob("*.jsonl")):
        for number, row in enumerate(artifacts.each_row(path), 1):
            rows += 1
            text = next((row[name] for name in _FIELDS if isinstance(row.get(name), str)), None)
            if text:
                found.append(Item(str(row.get("id", number)), str(path), text))
    if rows and not found:
        raise UserError(f"{folder} has no .jsonl file with a {', '.join(_FIELDS[:-1])} or {_FIELDS[-1]} in its rows.")
    return found


def paragraphs(held_out: Iterable[Document]) -> list[Item]:
    """Return the paragraphs of held-out documents as items with ids of the form `document#paragraph`."""
    return [
        Item(f"{document.id}#{number}", document.source, text)
        for document in held_out
        for number, text in enumerate(document.text.split(SEPARATOR))
    ]


def check(shard: Path, index: Index, ids: Set[str]) -> list[tuple[Document, Overlap]]:
    """Return what the documents of a shard with those ids share with the items."""
    chosen = (document for document in documents.read(shard) if document.id in ids)
    return [(document, overlap) for document in chosen for overlap in index.overlaps(document.text)]


def without(text: str, index: Index, share: float) -> str:
    """Return a text without the paragraphs that leak an item."""
    kept = (part for part in text.split(SEPARATOR) if not any(leaks(each, share) for each in index.overlaps(part)))
    return SEPARATOR.join(kept)


def leaks(overlap: Overlap, share: float) -> bool:
    """Return whether an overlap covers at least `share` of the item or of the document."""
    return max(overlap.item_share, overlap.document_share) >= share


def row(index: Index, overlap: Overlap, document: Document, action: str) -> dict[str, Any]:
    """Return an overlap as a row of contamination.jsonl."""
    item = index.items[overlap.item]
    return {
        "item": item.id,
        "item_source": item.source,
        "document": document.id,
        "source": document.source,
        "span": index.span(overlap),
        "item_share": round(overlap.item_share, 4),
        "document_share": round(overlap.document_share, 4),
        "action": action,
    }
