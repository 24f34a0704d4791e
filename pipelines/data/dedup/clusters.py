"""Duplicate clusters by URL, exact text, MinHash near-duplicates and semantic pairs; documents are numbers here."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.data.dedup.jaccard import Pairs
from pipelines.data.dedup.minhash import NONE, Hashes, Keys

NEIGHBOURS = 8
NO_PAIRS: Pairs = np.empty((0, 2), dtype=np.int64)
Pair = tuple[int, int]
Similar = Callable[[Pairs], npt.NDArray[np.float64]]
"""Computes the Jaccard similarity of each pair (m, 2)."""
Rank = Callable[[int], tuple[Any, ...]]
"""Maps a document to its rank; the lowest of a cluster is kept."""


@dataclass(frozen=True)
class Member:
    """A duplicate, the reason, and the Jaccard similarity of its text to the kept document's."""

    document: int
    reason: str
    similarity: float


@dataclass(frozen=True)
class Cluster:
    """A cluster of duplicates; `kept` is its representative."""

    kept: int
    members: list[Member]


def clusters(
    keys: Keys, similar: Similar, similarity: float, rank: Rank, semantic_pairs: Pairs = NO_PAIRS
) -> list[Cluster]:
    """Return the clusters of two or more documents, ordered by their kept document.

    Clusters are connected components: if A duplicates B and B duplicates C, all three form one cluster. The document
    with the lowest `rank` is kept; ties go to the first. Near-duplicates are pairs that share an LSH band and have a
    Jaccard similarity of at least `similarity`. Pairs in `semantic_pairs` are joined regardless of their words.
    """
    groups = Groups()
    for column in (keys.address, keys.text):
        groups.join(equals(column[:, None]).tolist())
    candidate_pairs = candidates(keys)
    jaccards = _by_pair(candidate_pairs, similar)
    groups.join(pair for pair, value in jaccards.items() if value >= similarity)
    groups.join(semantic_pairs.tolist())
    found = [sorted(group, key=lambda each: (rank(each), each)) for group in groups.all()]
    others = [pair for group in found for _, pair in _pairs(group) if pair not in jaccards]
    jaccards |= _by_pair(np.array(others, dtype=np.int64).reshape(-1, 2), similar)
    semantic = frozenset(semantic_pairs.flatten().tolist())
    paraphrases = semantic - {other for group in found for other, pair in _pairs(group) if jaccards[pair] >= similarity}
    return [
        Cluster(group[0], sorted(_members(group, keys, jaccards, paraphrases), key=lambda member: member.document))
        for group in sorted(found)
    ]


def candidates(keys: Keys) -> Pairs:
    """Return the pairs that share at least one LSH band; among equal texts only the first is considered."""
    texts, first = np.unique(keys.text, return_index=True)
    apart = np.sort(first[texts != NONE])
    return apart[equals(keys.bands[apart])]


def equals(columns: Hashes) -> Pairs:
    """Return the pairs of rows that are equal in at least one column of (n, columns), each once, the lower first.

    In a long run of equal rows each is paired with the next few only. They still form one cluster by transitivity, and
    all pairs of a page copied thousands of times would not fit in memory.
    """
    count = len(columns)
    codes = [np.empty(0, dtype=np.int64)]
    for column in columns.T:
        order = np.argsort(column, kind="stable")
        order = order[np.searchsorted(column[order], NONE, side="right") :]
        key = column[order]
        found = []
        for ahead in range(1, NEIGHBOURS + 1):
            equal = key[ahead:] == key[:-ahead]
            if not equal.any():
                break
            found.append(order[:-ahead][equal] * count + order[ahead:][equal])
        codes.append(np.unique(np.concatenate([codes.pop(), *found])))
    return np.stack(np.divmod(codes[0], max(count, 1)), axis=1)


class Groups:
    """Union-find over the documents that have a duplicate; the smallest number represents a group."""

    def __init__(self) -> None:
        """Start with every document in its own group."""
        self.parent: dict[int, int] = {}

    def find(self, index: int) -> int:
        """Return the representative of the group of `index`."""
        parent = self.parent
        while parent.setdefault(index, index) != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    def join(self, pairs: Iterable[Pair]) -> None:
        """Merge the groups of the two documents of each pair."""
        for first, second in pairs:
            low, high = sorted((self.find(first), self.find(second)))
            self.parent[high] = low

    def all(self) -> list[list[int]]:
        """Return the members of every group; a document that was only looked up is a group of its own."""
        groups: dict[int, list[int]] = defaultdict(list)
        for index in self.parent:
            groups[self.find(index)].append(index)
        return list(groups.values())


def _pairs(group: Sequence[int]) -> list[tuple[int, Pair]]:
    """Return every member of a group except the first, with its pair with the first, the lower number first."""
    return [(other, (min(group[0], other), max(group[0], other))) for other in group[1:]]


def _by_pair(pairs: Pairs, similar: Similar) -> dict[Pair, float]:
    return dict(zip(map(tuple, pairs.tolist()), similar(pairs).tolist(), strict=True)) if len(pairs) else {}


def _members(
    group: Sequence[int], keys: Keys, jaccards: dict[Pair, float], paraphrases: Collection[int]
) -> list[Member]:
    """Return the duplicates of a group's first document; `paraphrases` are semantic duplicates only."""
    return [Member(other, _reason(keys, group[0], other, paraphrases), jaccards[pair]) for other, pair in _pairs(group)]


def _reason(keys: Keys, kept: int, other: int, paraphrases: Collection[int]) -> str:
    if keys.address[kept] == keys.address[other] != NONE:
        return "url"
    if keys.text[kept] == keys.text[other]:
        return "exact"
    return "meaning" if other in paraphrases else "near"
