"""How alike two documents truly are: Jaccard similarity of their runs of words."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.data.words import normalise

Pairs = npt.NDArray[np.int64]
Shingles = npt.NDArray[np.uint64]
"""Distinct hashes of runs of words, in ascending order."""

_BYTES = np.random.default_rng(0).integers(2**64, size=256, dtype=np.uint64)
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse


def similarities(pairs: Pairs, shards: Sequence[Path], starts: Sequence[int], shingle: int) -> npt.NDArray[np.float64]:
    """Return the similarity of each pair (m, 2) of document numbers; the documents of shard i begin at `starts[i]`.

    Only the texts of the documents that are asked for are held.
    """
    wanted = np.unique(pairs)
    found: dict[int, Shingles] = {}
    for shard, start, end in zip(shards, starts, [*starts[1:], 2**62], strict=True):
        here = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, end)]
        if len(here):
            texts = pq.read_table(shard, columns=["text"]).column("text").take(pa.array(here - start)).to_pylist()
            sets = (shingles(normalise(text), shingle) for text in texts)
            found |= zip(here.tolist(), sets, strict=True)
    return np.array([jaccard(found[first], found[second]) for first, second in pairs.tolist()], dtype=np.float64)


def shingles(text: str, size: int) -> Shingles:
    """Return the runs of `size` words of a normalised text; a shorter text is one run.

    Rolling hashes modulo 2^64 (Karp and Rabin 1987): of all runs at once, from the sums up to each byte.
    """
    characters = np.frombuffer(f"{text} ".encode(), dtype=np.uint8)
    powers, inverses = _powers(len(characters).bit_length())
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(_BYTES[characters] * powers[: len(characters)])])
    ends = np.flatnonzero(characters == ord(" "))
    starts = np.concatenate([[0], ends[:-1] + 1])
    last = min(size, len(ends)) - 1
    firsts = starts[: len(ends) - last]
    hashes = np.sort((sums[ends[last:]] - sums[firsts]) * inverses[firsts])
    distinct: Shingles = hashes[np.concatenate([[True], hashes[1:] != hashes[:-1]])]
    return distinct


@cache
def _powers(bits: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return the powers 0, 1, … 2^bits - 1 of the base and of its inverse, modulo 2^64."""
    bases = (_BASE, pow(_BASE, -1, 2**64))
    first, second = (np.full(2**bits, base, dtype=np.uint64).cumprod() for base in bases)
    one = np.ones(1, dtype=np.uint64)
    return np.concatenate([one, first[:-1]]), np.concatenate([one, second[:-1]])


def jaccard(first: Shingles, second: Shingles) -> float:
    """Return the size of the intersection over the size of the union."""
    together = np.sort(np.concatenate([first, second]))
    both = int(np.count_nonzero(together[1:] == together[:-1]))
    return both / (len(together) - both)
