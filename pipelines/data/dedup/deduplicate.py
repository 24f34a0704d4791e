"""Deduplication of shards: find the clusters, choose the documents to keep, write them."""

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
from pipelines.data.dedup.minhash import Keys, LSHParameters
from pipelines.data.dedup.passages import Passages
from pipelines.data.documents import Mask
from pipelines.data.executor import Executor, workers

PAIRS = 20_000  # compared per worker call, which holds their texts in memory
MIN_PAIRS = 2_000  # fewer do not justify starting a process
FEW = 8  # shards, each of which takes a quarter of a second


@dataclass(frozen=True)
class Preference:
    """Which document of a cluster is kept: by preferred source, then the newest or longest."""

    sources: Sequence[str]
    """Prefixes of `source`, in order of preference."""
    newest: bool

    def rank(self, facts: pa.Table, sizes: npt.NDArray[np.int64]) -> Callable[[int], tuple[int, ...]]:
        """Return a function that maps a document number to its rank; the lowest rank is kept."""
        sources, dates = facts.column("source"), facts.column("date")

        def rank(number: int) -> tuple[int, ...]:
            source = sources[number].as_py()
            preferred = [place for place, start in enumerate(self.sources) if source.startswith(start)]
            date = (dates[number].as_py() or "").replace("-", "").ljust(8, "0") if self.newest else 0
            return min(preferred, default=len(self.sources)), -int(date), -int(sizes[number])

        return rank


def find(
    shards: Sequence[Path],
    lsh: LSHParameters,
    similarity: float,
    preference: Preference,
    runner: Executor,
    semantic_pairs: Pairs = NO_PAIRS,
) -> list[Cluster]:
    """Return the clusters of documents with the same URL, the same text or a Jaccard similarity of `similarity`.

    Pairs in `semantic_pairs` are duplicates too.
    """
    keys: list[Keys] = list(runner.over(partial(minhash.of_shard, lsh=lsh), shards, "hashing", FEW))
    together = minhash.joined(keys)
    starts = documents.starts(shards)

    def similar(pairs: Pairs) -> npt.NDArray[np.float64]:
        compare = partial(similarities, shards=shards, starts=starts, shingle=lsh.shingle)
        parts = max(-(-len(pairs) // PAIRS), min(workers(), len(pairs) // MIN_PAIRS), 1)
        chunks = np.array_split(pairs, parts)
        return np.concatenate(list(runner.over(compare, chunks, "comparing")))

    facts = documents.columns(shards, ["source", "date"])
    return clusters(together, similar, similarity, preference.rank(facts, together.size), semantic_pairs)


def remaining(shards: Sequence[Path], found: Sequence[Cluster]) -> list[Mask]:
    """Return, for each shard, which documents are kept."""
    starts = documents.starts(shards)
    total = sum(len(cluster.members) for cluster in found)
    removed = np.fromiter(
        (member.document for cluster in found for member in cluster.members), dtype=np.int64, count=total
    )
    kept = np.ones(documents.count(shards), dtype=np.bool_)
    kept[removed] = False
    return np.split(kept, starts[1:])


def write(shards: Sequence[Path], kept: Sequence[Mask], table: Path, runner: Executor) -> None:
    """Write the kept documents."""
    for _ in runner.over(partial(documents.keep, table=table), list(zip(shards, kept, strict=True)), "writing", FEW):
        pass


def write_without_repeats(
    shards: Sequence[Path], kept: Sequence[Mask], table: Path, unit: Passages, runner: Executor
) -> list[Row]:
    """Write the kept documents without repeated passages; return a row per document with removals."""
    both = list(zip(shards, kept, strict=True))
    keys = list(runner.over(partial(passages.of_shard, passages=unit), both, "reading passages", FEW))
    repeated = list(zip(shards, kept, passages.seen(keys), strict=True))
    rewrite: Callable[[tuple[Any, ...]], list[Row]] = partial(passages.rewrite, passages=unit, table=table)
    return [row for rows in runner.over(rewrite, repeated, "writing", FEW) for row in rows]
