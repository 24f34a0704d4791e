"""Near duplicates: MinHash signatures (Broder 1997) by Daft, banding in numpy, every candidate verified."""

import os
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("DAFT_PROGRESS_BAR", "0")

import daft
from daft.functions import minhash

Shingles = frozenset[tuple[str, ...]]


def near_pairs(
    texts: Sequence[str], shingle: int, bands: int, rows: int, similarity: float
) -> Iterator[tuple[int, int]]:
    """Yield the pairs of `texts` whose shingles have a Jaccard similarity of at least `similarity`.

    The texts are normalised (`words.normalise`) and not empty: Daft splits at single spaces, and all empty
    texts are alike to it. A pair of similarity s is a candidate with probability 1 - (1 - s^rows)^bands.
    """
    if len(texts) < 2:
        return
    sets: dict[int, Shingles] = {}
    for first, second in candidates(signatures(texts, shingle, bands * rows), bands):
        for index in (first, second):
            if index not in sets:
                sets[index] = shingles(texts[index], shingle)
        if jaccard(sets[first], sets[second]) >= similarity:
            yield first, second


def signatures(texts: Sequence[str], shingle: int, hashes: int) -> npt.NDArray[np.uint32]:
    """Return the MinHash signature of every text: (texts, hashes)."""
    frame = daft.from_pydict({"row": list(range(len(texts))), "text": list(texts)})
    column = minhash(daft.col("text"), num_hashes=hashes, ngram_size=shingle)
    table = frame.select(daft.col("row"), column.alias("signature")).to_arrow().sort_by("row")
    flat = table.column("signature").combine_chunks().flatten()
    return np.asarray(flat.to_numpy(), dtype=np.uint32).reshape(len(texts), hashes)


def candidates(signature: npt.NDArray[np.uint32], bands: int) -> list[tuple[int, int]]:
    """Return the pairs that agree in all rows of at least one band, in order.

    A band is compared by a 64-bit hash of its rows, so that two that differ agree once in 2^64.
    """
    pairs: set[tuple[int, int]] = set()
    rows = signature.shape[1] // bands
    factors = np.random.default_rng(0).integers(2**63, size=rows, dtype=np.uint64) * 2 + 1
    for band in range(bands):
        key = (signature[:, band * rows : (band + 1) * rows].astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64)
        order = np.argsort(key, kind="stable")
        equal = np.flatnonzero(key[order][1:] == key[order][:-1])
        for run in np.split(equal, np.flatnonzero(np.diff(equal) > 1) + 1):
            if len(run):
                pairs.update(combinations(order[run[0] : run[-1] + 2].tolist(), 2))
    return sorted(pairs)


def shingles(text: str, size: int) -> Shingles:
    """Return the runs of `size` words of a normalised text; a shorter text is one run."""
    tokens = text.split(" ")
    if len(tokens) <= size:
        return frozenset([tuple(tokens)])
    return frozenset(zip(*(tokens[at:] for at in range(size)), strict=False))


def jaccard(first: Shingles, second: Shingles) -> float:
    """Return the size of the intersection over the size of the union."""
    return len(first & second) / len(first | second)
