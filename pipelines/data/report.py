"""What became of the documents, as a page to be read: a funnel, every rule with examples, clusters, changes.

Examples are chosen by a hash of their ids, so that they are any and not the first, and the same on every repetition.
Texts are read of what is shown alone. The page is `report.html.jinja` beside this file.
"""

import difflib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from pipelines.artifacts import Row
from pipelines.runtime.html import excerpt

TEMPLATE = Path(__file__).parent / "report.html.jinja"
_LINES = 40  # of a document's changes
_CONTEXT = 1  # lines around a change


@dataclass
class Found:
    """How often something was found, and a few rows that show it."""

    documents: int = 0
    places: int = 0
    examples: list[Row] = field(default_factory=list)


def by_reason(rows: Iterable[Row], most: int) -> dict[str, Found]:
    """Return by reason how many documents and places there are, with at most so many examples of each."""
    found: dict[str, Found] = defaultdict(Found)
    chosen: dict[str, list[tuple[int, int, Row]]] = defaultdict(list)
    for number, row in enumerate(rows):
        reason = row["reason"]
        found[reason].documents += 1
        found[reason].places += row.get("count", 1)
        rank = (-_hash(f"{reason}/{row['source']}"), -number, row)
        push = heapq.heappush if len(chosen[reason]) < most else heapq.heappushpop
        push(chosen[reason], rank)
    for reason, heap in chosen.items():
        found[reason].examples = [row for *_, row in sorted(heap, reverse=True)]
    return dict(sorted(found.items(), key=lambda each: -each[1].documents))


def any_of(ids: Iterable[str], most: int) -> list[str]:
    """Return at most so many different ids, those with the smallest hashes."""
    return heapq.nsmallest(most, sorted(set(ids)), key=_hash)


def texts(shards: Sequence[Path], ids: Iterable[str]) -> dict[str, str]:
    """Return the texts of documents by their ids."""
    wanted = pa.array(sorted(set(ids)), pa.string())
    found: dict[str, str] = {}
    for shard in shards:
        rows = pq.read_table(shard, columns=["id", "text"])
        rows = rows.filter(pc.is_in(rows.column("id"), wanted))
        found |= zip(rows.column("id").to_pylist(), rows.column("text").to_pylist(), strict=True)
    return found


def lengths(shards: Sequence[Path]) -> Counter[int]:
    """Return how many documents have 2^n to 2^(n+1) characters, by n."""
    counts: Counter[int] = Counter()
    for shard in shards:
        characters = pc.utf8_length(pq.read_table(shard, columns=["text"]).column("text")).to_numpy()
        counts.update(np.log2(np.maximum(characters, 1)).astype(int).tolist())
    return counts


def values(shards: Sequence[Path], column: str) -> Counter[str]:
    """Return how many documents have each value of a column."""
    counts: Counter[str] = Counter()
    for shard in shards:
        counts.update(each or "unknown" for each in pq.read_table(shard, columns=[column]).column(column).to_pylist())
    return counts


def changes(before: str, after: str) -> list[tuple[str, str]]:
    """Return the lines that changed, with those around them: each a sign (` `, `-`, `+`, `…`) and the line."""
    old, new = before.split("\n"), after.split("\n")
    lines: list[tuple[str, str]] = []
    for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(_CONTEXT):
        lines.append(("…", ""))
        for tag, first, last, start, end in group:
            if tag == "equal":
                lines += [(" ", line) for line in old[first:last]]
            else:
                lines += [("-", line) for line in old[first:last]]
                lines += [("+", line) for line in new[start:end]]
    return [(sign, excerpt(line)) for sign, line in lines[1 : _LINES + 1]]


def _hash(key: str) -> int:
    return xxhash.xxh3_64_intdigest(key.encode())
