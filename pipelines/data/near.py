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


def near_pairs(
    texts: Sequence[str], shingle: int, bands: int, rows: int, similarity: float
) -> Iterator[tuple[int, int]]:
    """Yield the pairs of `texts` whose shingles have a Jaccard similarity of at least `similarity`.

    The texts are normalised (`words.normalise`) and not empty: Daft splits at single spaces, and all empty
    texts are alike to it. A pair of similarity s is a candidate with probability 1 - (1 - s^rows)^bands.
    """
    if len(texts) < 2:
        return
    sets: dict[int, frozenset[str]] = {}
    for pair in candidates(signatures(texts, shingle, bands * rows), bands):
        first, second = (sets.setdefault(index, shingles(texts[index], shingle)) for index in pair)
        if jaccard(first, second) >= similarity:
            yield pair


def signatures(texts: Sequence[str], shingle: int, hashes: int) -> npt.NDArray[np.uint32]:
    """Return the MinHash signature of every text: (texts, hashes)."""
    frame = daft.from_pydict({"row": list(range(len(texts))), "text": list(texts)})
    column = minhash(daft.col("text"), num_hashes=hashes, ngram_size=shingle)
    table = frame.select(daft.col("row"), column.alias("signature")).to_arrow().sort_by("row")
    flat = table.column("signature").combine_chunks().flatten()
    return np.asarray(flat.to_numpy(), dtype=np.uint32).reshape(len(texts), hashes)


def candidates(signature: npt.NDArray[np.uint32], bands: int) -> list[tuple[int, int]]:
    """Return the pairs that agree in all rows of at least one band, in order."""
    pairs: set[tuple[int, int]] = set()
    for band in np.split(signature, bands, axis=1):
        _, group = np.unique(band, axis=0, return_inverse=True)
        group = group.reshape(-1)
        order = np.argsort(group, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
            pairs.update(combinations(members.tolist(), 2))
    return sorted(pairs)


def shingles(text: str, size: int) -> frozenset[str]:
    """Return the runs of `size` words of a normalised text; a shorter text is one run."""
    tokens = text.split()
    return frozenset(" ".join(tokens[at : at + size]) for at in range(max(1, len(tokens) - size + 1)))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Return the size of the intersection over the size of the union."""
    return len(first & second) / len(first | second)
