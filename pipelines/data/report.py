"""Data report: HTML page with the document funnel, examples of every rule, duplicate clusters and text diffs.

Examples are sampled by a hash of their ids, which is unbiased by order and reproducible. Only the texts that are shown
are read. The template is `report.html.jinja` in this folder.
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
_MAX_DIFF_LINES = 40
_CONTEXT = 1  # unchanged lines shown around a change


@dataclass
class ReasonSummary:
    """Number of documents and places affected for one reason, with example rows."""

    documents: int = 0
    places: int = 0
    examples: list[Row] = field(default_factory=list)


def by_reason(rows: Iterable[Row], most: int) -> dict[str, ReasonSummary]:
    """Return a summary by reason, most frequent first, each with at most `most` examples."""
    summaries: dict[str, ReasonSummary] = defaultdict(ReasonSummary)
    chosen: dict[str, list[tuple[int, int, Row]]] = defaultdict(list)
    for number, row in enumerate(rows):
        reason = row["reason"]
        summaries[reason].documents += 1
        summaries[reason].places += row.get("count", 1)
        rank = (-_hash(f"{reason}/{row['source']}"), -number, row)
        push = heapq.heappush if len(chosen[reason]) < most else heapq.heappushpop
        push(chosen[reason], rank)
    for reason, heap in chosen.items():
        summaries[reason].examples = [row for *_, row in sorted(heap, reverse=True)]
    return dict(sorted(summaries.items(), key=lambda each: -each[1].documents))


def sample_ids(ids: Iterable[str], most: int) -> list[str]:
    """Return at most `most` distinct ids: those with the smallest hashes."""
    return heapq.nsmallest(most, sorted(set(ids)), key=_hash)


def texts(shards: Sequence[Path], ids: Iterable[str]) -> dict[str, str]:
    """Return the texts of the given documents by id."""
    wanted = pa.array(sorted(set(ids)), pa.string())
    found: dict[str, str] = {}
    for shard in shards:
        rows = pq.read_table(shard, columns=["id", "text"])
        rows = rows.filter(pc.is_in(rows.column("id"), wanted))
        found |= zip(rows.column("id").to_pylist(), rows.column("text").to_pylist(), strict=True)
    return found


def lengths(shards: Sequence[Path]) -> Counter[int]:
    """Return the number of documents with 2^n to 2^(n+1) characters, by n."""
    counts: Counter[int] = Counter()
    for shard in shards:
        characters = pc.utf8_length(pq.read_table(shard, columns=["text"]).column("text")).to_numpy()
        counts.update(np.log2(np.maximum(characters, 1)).astype(int).tolist())
    return counts


def values(shards: Sequence[Path], column: str) -> Counter[str]:
    """Return the number of documents for each value of a column."""
    counts: Counter[str] = Counter()
    for shard in shards:
        counts.update(each or "unknown" for each in pq.read_table(shard, columns=[column]).column(column).to_pylist())
    return counts


def changes(before: str, after: str) -> list[tuple[str, str]]:
    """Return the changed lines with their context, each as a sign (` `, `-`, `+`, `…`) and the line."""
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
    return [(sign, excerpt(line)) for sign, line in lines[1 : _MAX_DIFF_LINES + 1]]


def _hash(key: str) -> int:
    return xxhash.xxh3_64_intdigest(key.encode())
