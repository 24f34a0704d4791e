"""Passage deduplication: remove paragraphs or lines that occurred earlier; the first occurrence is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipelines.artifacts import Row
from pipelines.data import documents
from pipelines.data.dedup.minhash import Hashes
from pipelines.data.documents import Mask
from pipelines.text.words import normalise, word_count


@dataclass(frozen=True)
class Passages:
    """Unit of passage deduplication: paragraphs or lines of at least `words` words, which exempts headings."""

    unit: Literal["paragraph", "line"]
    words: int

    def split(self, text: str) -> list[str]:
        """Split a text into passages."""
        return text.split(self.separator)

    @property
    def separator(self) -> str:
        """Separator between passages."""
        return "\n\n" if self.unit == "paragraph" else "\n"

    def key(self, passage: str) -> int | None:
        """Return the hash of a passage, or None if it is too short to be compared."""
        return xxhash.xxh3_64_intdigest(normalise(passage).encode()) if word_count(passage) >= self.words else None


def of_shard(shard: tuple[Path, Mask], passages: Passages) -> Hashes:
    """Return the passage keys of the kept documents of a shard, in order."""
    path, kept = shard
    texts = pq.read_table(path, columns=["text"]).column("text").filter(pa.array(kept)).to_pylist()
    keys = (passages.key(passage) for text in texts for passage in passages.split(text))
    return np.array([key for key in keys if key is not None], dtype=np.uint64)


def seen(keys: Sequence[Hashes]) -> list[Mask]:
    """Return, for each shard, which of its passages occurred before."""
    together = np.concatenate(keys)
    first = np.unique(together, return_index=True)[1]
    repeated = np.ones(len(together), dtype=np.bool_)
    repeated[first] = False
    return np.split(repeated, np.cumsum([len(each) for each in keys])[:-1])


def rewrite(shard: tuple[Path, Mask, Mask], passages: Passages, table: Path) -> list[Row]:
    """Write the kept documents of a shard without repeated passages; return a row per document with removals.

    A document left without text is dropped.
    """
    path, kept, repeated = shard
    marks = iter(repeated.tolist())
    written, removed = [], []
    for document in compress(documents.read(path), kept.tolist()):
        marked = [(each, passages.key(each) is not None and next(marks)) for each in passages.split(document.text)]
        text = passages.separator.join(each for each, before in marked if not before).strip()
        if text:
            written.append(replace(document, text=text))
        repeats = [each for each, before in marked if before]
        if repeats:
            facts = {"count": len(repeats), "example": repeats[0], "dropped": not text}
            removed.append({"id": document.id, "source": document.source, **facts})
    documents.write_shard(table / path.name, written, documents.CLUSTERED)
    return removed
