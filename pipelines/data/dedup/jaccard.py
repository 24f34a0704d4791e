"""Exact Jaccard similarity of documents over their word n-grams (shingles)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.text.ngrams import runs
from pipelines.text.words import normalise

Pairs = npt.NDArray[np.int64]
Shingles = npt.NDArray[np.uint64]
"""Distinct n-gram hashes in ascending order."""


def similarities(pairs: Pairs, shards: Sequence[Path], starts: Sequence[int], shingle: int) -> npt.NDArray[np.float64]:
    """Return the similarity of each pair (m, 2) of document numbers; the documents of shard i begin at `starts[i]`.

    Only the shingles of documents in `pairs` are kept in memory.
    """
    wanted = np.unique(pairs)
    shingle_sets: dict[int, Shingles] = {}
    for shard, start, end in zip(shards, starts, [*starts[1:], 2**62], strict=True):
        here = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, end)]
        if len(here):
            texts = pq.read_table(shard, columns=["text"]).column("text").take(pa.array(here - start)).to_pylist()
            sets = (shingles(normalise(text), shingle) for text in texts)
            shingle_sets |= zip(here.tolist(), sets, strict=True)
    return np.array(
        [jaccard(shingle_sets[first], shingle_sets[second]) for first, second in pairs.tolist()], dtype=np.float64
    )


def shingles(text: str, size: int) -> Shingles:
    """Return the n-grams of `size` words of a normalised text; a shorter text is a single n-gram."""
    hashes = np.sort(runs(text, size))
    distinct: Shingles = hashes[np.concatenate([[True], hashes[1:] != hashes[:-1]])]
    return distinct


def jaccard(first: Shingles, second: Shingles) -> float:
    """Return the Jaccard similarity: intersection size over union size."""
    together = np.sort(np.concatenate([first, second]))
    both = int(np.count_nonzero(together[1:] == together[:-1]))
    return both / (len(together) - both)
