"""Documents that are the same: by address, by text, or nearly by text. A document is a number here."""

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
"""Tells the Jaccard similarity of each pair (m, 2)."""
Rank = Callable[[int], tuple[Any, ...]]
"""Tells what documents are kept by: the lowest of a cluster."""


@dataclass(frozen=True)
class Member:
    """A duplicate: what made it one, and the similarity of its text to the kept document's."""

    document: int
    reason: str
    similarity: float


@dataclass(frozen=True)
class Cluster:
    """Documents that are the same; `kept` stands for all."""

    kept: int
    members: list[Member]


def clusters(
    keys: Keys, similar: Similar, similarity: float, rank: Rank, same_meaning: Pairs = NO_PAIRS
) -> list[Cluster]:
    """Return the clusters of several documents, in the order of those that are kept.

    Sameness carries over: if A is B and B is C, all are one cluster. Of a cluster the document of the lowest `rank`
    is kept, and of equals the first. A pair is nearly the same when its true `similarity` is at least that much;
    pairs that share no band of their signatures are not looked at. Those of `same_meaning` are of one cluster whatever
    their words.
    """
    groups = Groups()
    for column in (keys.address, keys.text):
        groups.join(equals(column[:, None]).tolist())
    near = candidates(keys)
    alike = _by_pair(near, similar)
    groups.join(pair for pair, value in alike.items() if value >= similarity)
    groups.join(same_meaning.tolist())
    found = [sorted(group, key=lambda each: (rank(each), each)) for group in groups.all()]
    others = [pair for group in found for _, pair in _pairs(group) if pair not in alike]
    alike |= _by_pair(np.array(others, dtype=np.int64).reshape(-1, 2), similar)
    meant = frozenset(same_meaning.flatten().tolist())
    unlike = meant - {other for group in found for other, pair in _pairs(group) if alike[pair] >= similarity}
    return [
        Cluster(group[0], sorted(_members(group, keys, alike, unlike), key=lambda member: member.document))
        for group in sorted(found)
    ]


def candidates(keys: Keys) -> Pairs:
    """Return the pairs that agree in at least one band; of equal texts, the first alone takes part."""
    texts, first = np.unique(keys.text, return_index=True)
    apart = np.sort(first[texts != NONE])
    return apart[equals(keys.bands[apart])]


def equals(columns: Hashes) -> Pairs:
    """Return the pairs of rows that are equal in at least one column of (n, columns), each once, the lower first.

    Of a long run of equal rows each is paired with the next few only: they are of one cluster by what carries over,
    and the pairs of a page that thousands copy would not fit into memory.
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
    """Union-find over the documents that are joined at all; the smallest number represents a group."""

    def __init__(self) -> None:
        """Begin with every document by itself."""
        self.parent: dict[int, int] = {}

    def find(self, index: int) -> int:
        """Return the representative of the group of `index`."""
        parent = self.parent
        while parent.setdefault(index, index) != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    def join(self, pairs: Iterable[Pair]) -> None:
        """Make one group of the two of each pair."""
        for first, second in pairs:
            low, high = sorted((self.find(first), self.find(second)))
            self.parent[high] = low

    def all(self) -> list[list[int]]:
        """Return the members of every group of several."""
        groups: dict[int, list[int]] = defaultdict(list)
        for index in self.parent:
            groups[self.find(index)].append(index)
        return list(groups.values())


def _pairs(group: Sequence[int]) -> list[tuple[int, Pair]]:
    """Return each of a group but the first, with its pair with the first, the lower number first."""
    return [(other, (min(group[0], other), max(group[0], other))) for other in group[1:]]


def _by_pair(pairs: Pairs, similar: Similar) -> dict[Pair, float]:
    return dict(zip(map(tuple, pairs.tolist()), similar(pairs).tolist(), strict=True)) if len(pairs) else {}


def _members(group: Sequence[int], keys: Keys, alike: dict[Pair, float], unlike: Collection[int]) -> list[Member]:
    """Return the duplicates of the first of a group; those `unlike` in words are here for their meaning."""
    return [Member(other, _reason(keys, group[0], other, unlike), alike[pair]) for other, pair in _pairs(group)]


def _reason(keys: Keys, kept: int, other: int, unlike: Collection[int]) -> str:
    if keys.address[kept] == keys.address[other] != NONE:
        return "url"
    if keys.text[kept] == keys.text[other]:
        return "exact"
    return "meaning" if other in unlike else "near"
