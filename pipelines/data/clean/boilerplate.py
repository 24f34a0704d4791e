"""Boilerplate by Llama 3's rule (arXiv 2407.21783, 3.1.1): a line of many documents is nobody's.

Lines are counted by a 64-bit hash of their normal form, so that those of millions of documents fit into memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

from pipelines.data.clean.normalize import Edit
from pipelines.data.fences import is_code, without_empty_lines


@dataclass(frozen=True)
class Lines:
    """The distinct lines of some documents: whose each is (its number), its key, its length in characters."""

    owner: npt.NDArray[np.uint32]
    key: npt.NDArray[np.uint64]
    size: npt.NDArray[np.uint32]

    def affected(self, repeated: frozenset[int]) -> frozenset[int]:
        """Return the numbers of the documents that have one of the `repeated` lines."""
        marked = np.isin(self.key, np.array(list(repeated), dtype=np.uint64))
        return frozenset(np.unique(self.owner[marked]).tolist())


def lines(texts: Sequence[str]) -> Lines:
    """Return the lines of each text that count, each once."""
    sizes = [dict(_keyed(text.split("\n"))) for text in texts]
    owner = np.repeat(np.arange(len(sizes), dtype=np.uint32), [len(each) for each in sizes])
    keys = np.array([key for each in sizes for key in each], dtype=np.uint64)
    lengths = np.array([len(line) for each in sizes for line in each.values()], dtype=np.uint32)
    return Lines(owner, keys, lengths)


def repeated_lines(shards: Sequence[Lines], most: int) -> frozenset[int]:
    """Return the keys of the lines that are found in more than `most` documents of all shards.

    There the rule runs after deduplication, here before it. So a document that consists of repeated lines by more
    than half is a copy rather than a page with boilerplate, and is not counted: copying a document
    must not make boilerplate of it.
    """
    suspects = _frequent([shard.key for shard in shards], most)
    return frozenset(_frequent([_of_originals(shard, suspects) for shard in shards], most).tolist())


def without(text: str, repeated: frozenset[int]) -> tuple[str, list[Edit]]:
    """Remove the lines that are `repeated`."""
    if not repeated:
        return text, []
    every = text.split("\n")
    removed = {line for key, line in _keyed(every) if key in repeated}
    if not removed:
        return text, []
    dropped = [line for line in every if line in removed]
    kept = "\n".join(line for line in every if line not in removed)
    return without_empty_lines(kept).strip(), [Edit("repeated_line", len(dropped), dropped[0])]


def _frequent(keys: Sequence[npt.NDArray[np.uint64]], most: int) -> npt.NDArray[np.uint64]:
    found, counts = np.unique(np.concatenate(keys), return_counts=True)
    frequent: npt.NDArray[np.uint64] = found[counts > most]
    return frequent


def _of_originals(shard: Lines, suspects: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the suspects among the lines of a shard's documents that are no copies."""
    suspect = np.isin(shard.key, suspects)
    documents = int(shard.owner.max(initial=0)) + 1
    in_all = np.bincount(shard.owner, shard.size, documents)
    in_suspects = np.bincount(shard.owner[suspect], shard.size[suspect], documents)
    original = 2 * in_suspects <= in_all
    return shard.key[suspect & original[shard.owner]]


def _keyed(every: Sequence[str]) -> list[tuple[int, str]]:
    """Return the lines that count with their keys.

    Lines without a letter (rules, braces, rows of numbers) are left alone, and so are fenced code and the rows of
    tables: they repeat for reasons of their own.
    """
    found = []
    rows = _rows(every)
    for number, (line, code) in enumerate(zip(every, is_code(every), strict=True)):
        if line and not code and (line[0].isalpha() or any(map(str.isalpha, line))) and number not in rows:
            found.append((xxhash.xxh3_64_intdigest(_normal(line).encode()), line))
    return found


def _normal(line: str) -> str:
    """Return a line without what makes no difference; most have single spaces already."""
    return " ".join(line.casefold().split()) if "  " in line or "\t" in line else line.casefold().strip()


def _rows(every: Sequence[str]) -> set[int]:
    """Return the numbers of the rows of tables: a neighbour has as many cells; a menu is one line by itself."""
    bars = [line.count("|") for line in every]
    if not any(bars):
        return set()
    around = zip([0, *bars], bars, [*bars[1:], 0], strict=False)
    return {number for number, (before, count, after) in enumerate(around) if count and count in (before, after)}
