"""From shards of documents to those that say something of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.artifacts import Row
from pipelines.data import documents
from pipelines.data.dedup import minhash, passages
from pipelines.data.dedup.clusters import NO_PAIRS, Cluster, clusters
from pipelines.data.dedup.jaccard import Pairs, similarities
from pipelines.data.dedup.minhash import Banding, Keys
from pipelines.data.dedup.passages import Passages
from pipelines.data.documents import Mask
from pipelines.data.executor import Executor, workers

PAIRS = 20_000  # compared at a time by one process, which holds their texts
FEWEST = 2_000  # for which a process is worth starting
FEW = 8  # shards of which each takes a quarter of a second


@dataclass(frozen=True)
class Preference:
    """Which of several documents that are the same stays: the first kind of source, then the newest or longest."""

    sources: Sequence[str]
    """Beginnings of `source`."""
    newest: bool

    def rank(self, facts: pa.Table, sizes: npt.NDArray[np.int64]) -> Callable[[int], tuple[int, ...]]:
        """Return what tells the rank of a document by its number, the lowest of which stays."""
        sources, dates = facts.column("source"), facts.column("date")

        def rank(number: int) -> tuple[int, ...]:
            source = sources[number].as_py()
            preferred = [place for place, start in enumerate(self.sources) if source.startswith(start)]
            date = (dates[number].as_py() or "").replace("-", "").ljust(8, "0") if self.newest else 0
            return min(preferred, default=len(self.sources)), -int(date), -int(sizes[number])

        return rank


def find(
    shards: Sequence[Path],
    banding: Banding,
    similarity: float,
    preference: Preference,
    runner: Executor,
    same_meaning: Pairs = NO_PAIRS,
) -> list[Cluster]:
    """Return the clusters of documents that are the same by address, by text, or in at least `similarity` of it.

    The pairs of `same_meaning` are the same, too.
    """
    found: list[Keys] = list(runner.over(partial(minhash.of_shard, banding=banding), shards, "hashing", FEW))
    together = minhash.joined(found)
    starts = documents.starts(shards)

    def similar(pairs: Pairs) -> npt.NDArray[np.float64]:
        compare = partial(similarities, shards=shards, starts=starts, shingle=banding.shingle)
        parts = max(-(-len(pairs) // PAIRS), min(workers(), len(pairs) // FEWEST), 1)
        chunks = np.array_split(pairs, parts)
        return np.concatenate(list(runner.over(compare, chunks, "comparing")))

    facts = documents.columns(shards, ["source", "date"])
    return clusters(together, similar, similarity, preference.rank(facts, together.size), same_meaning)


def remaining(shards: Sequence[Path], found: Sequence[Cluster]) -> list[Mask]:
    """Return, of each shard, which documents stay."""
    starts = documents.starts(shards)
    total = sum(len(cluster.members) for cluster in found)
    gone = np.fromiter(
        (member.document for cluster in found for member in cluster.members), dtype=np.int64, count=total
    )
    stays = np.ones(documents.count(shards), dtype=np.bool_)
    stays[gone] = False
    return np.split(stays, starts[1:])


def write(shards: Sequence[Path], stays: Sequence[Mask], table: Path, runner: Executor) -> None:
    """Write the documents that stay."""
    for _ in runner.over(partial(documents.keep, table=table), list(zip(shards, stays, strict=True)), "writing", FEW):
        pass


def write_without_repeats(
    shards: Sequence[Path], stays: Sequence[Mask], table: Path, unit: Passages, runner: Executor
) -> list[Row]:
    """Write the documents that stay without the passages that came before; returns what those were, and whence."""
    both = list(zip(shards, stays, strict=True))
    found = list(runner.over(partial(passages.of_shard, passages=unit), both, "reading passages", FEW))
    again = list(zip(shards, stays, passages.seen(found), strict=True))
    rewrite: Callable[[tuple[Any, ...]], list[Row]] = partial(passages.rewrite, passages=unit, table=table)
    return [row for rows in runner.over(rewrite, again, "writing", FEW) for row in rows]
