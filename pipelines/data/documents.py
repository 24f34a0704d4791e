"""A document as the tasks from ingest to split hand it on, and the table of them: a folder of Parquet shards.

A shard is what one process holds at a time, so that memory stays bounded however large the corpus grows.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("format", pa.string()),
        ("text", pa.string()),
        ("date", pa.string()),
        ("language", pa.string()),
        ("headings", pa.list_(pa.string())),
    ]
)
SHARD_DOCUMENTS = 5_000
SHARD_CHARACTERS = 2**24
Mask = npt.NDArray[np.bool_]
"""Which documents of a shard are meant."""
CLUSTERED = SCHEMA.append(pa.field("cluster", pa.string()))


class UnreadableError(Exception):
    """A file that gives no document. Its message is the reason, in a few words."""


@dataclass(frozen=True)
class UnreadablePart:
    """A chapter, a page or another part of a file that could not be read, while the rest was."""

    name: str
    reason: str


@dataclass(frozen=True)
class Content:
    """What a reader found in a file: text (paragraphs apart by an empty line), title, address, date and headings."""

    text: str
    title: str | None = None
    url: str | None = None
    date: str | None = None
    headings: tuple[str, ...] = ()
    unreadable: tuple[UnreadablePart, ...] = ()


@dataclass(frozen=True)
class Document:
    """A text with where it came from; `source` is the path below the raw folder."""

    id: str
    source: str
    url: str | None
    title: str
    format: str
    text: str
    date: str | None = None
    """As much of it as is known: 2021-03-04, 2021-03 or 2021."""
    language: str | None = None
    """ISO 639-1; `clean` finds it."""
    headings: tuple[str, ...] = ()
    """In their order, without the title."""


def identified(documents: Iterable[Document]) -> Iterator[Document]:
    """Give each document its id: the first 16 hex digits of its text's SHA-256, which outlives a renaming.

    Of several with one text the first has the bare id, the others `-2`, `-3`, … after it.
    """
    seen: Counter[int] = Counter()
    for document in documents:
        digest = hashlib.sha256(document.text.encode()).hexdigest()[:16]
        seen[int(digest, 16)] += 1
        times = seen[int(digest, 16)]
        yield replace(document, id=f"{digest}-{times}" if times > 1 else digest)


def shards(folder: Path) -> list[Path]:
    """Return the files of a table, in order."""
    return sorted(folder.glob("*.parquet"))


def read(table: Path) -> Iterator[Document]:
    """Yield the documents of a table, shard by shard, or of one shard; a `cluster` column is left out."""
    for shard in shards(table) if table.is_dir() else [table]:
        columns = pq.read_table(shard, columns=SCHEMA.names)
        values = {name: columns.column(name).to_pylist() for name in SCHEMA.names}
        values["headings"] = list(map(tuple, values["headings"]))
        yield from (Document(*row) for row in zip(*values.values(), strict=True))


def write(table: Path, documents: Iterable[Document], schema: pa.Schema = SCHEMA) -> None:
    """Write a table, of as many shards as it takes."""
    table.mkdir(parents=True, exist_ok=True)
    for number, shard in enumerate(_sharded(documents)):
        write_shard(table / f"{number:05}.parquet", shard, schema)


def write_shard(shard: Path, documents: Sequence[Document], schema: pa.Schema = SCHEMA) -> None:
    """Write one shard; in a `CLUSTERED` one each document stands for its cluster."""
    columns = {
        name: [getattr(each, "id" if name == "cluster" else name) for each in documents] for name in schema.names
    }
    pq.write_table(pa.table(columns, schema), shard, compression="zstd")


def keep(shard: tuple[Path, Mask], table: Path) -> None:
    """Write those documents of a shard into `table` that are kept, each as standing for its cluster."""
    path, kept = shard
    rows = pq.read_table(path, schema=SCHEMA).filter(pa.array(kept))
    pq.write_table(rows.append_column("cluster", rows.column("id")), table / path.name, compression="zstd")


def gather(shards: Sequence[Path], file: Path, ids: Set[str], changed: Mapping[str, str]) -> int:
    """Write the clustered documents of those ids into one file, some with another text; return how many.

    A document of which nothing is left is gone.
    """
    written = 0
    with pq.ParquetWriter(file, CLUSTERED, compression="zstd") as writer:
        for shard in shards:
            rows = pq.read_table(shard, schema=CLUSTERED).to_pylist()
            chosen = [row | {"text": changed.get(row["id"], row["text"])} for row in rows if row["id"] in ids]
            left = [row for row in chosen if row["text"].strip()]
            writer.write_table(pa.Table.from_pylist(left, CLUSTERED))
            written += len(left)
    return written


def columns(shards: Sequence[Path], names: Sequence[str]) -> pa.Table:
    """Return some columns of all shards, in order."""
    return pa.concat_tables([pq.read_table(shard, columns=list(names)) for shard in shards])


def sizes(shards: Sequence[Path]) -> dict[str, int]:
    """Return the characters of each document by id; one shard's texts are in memory at a time."""
    found: dict[str, int] = {}
    for shard in shards:
        table = pq.read_table(shard, columns=["id", "text"])
        found |= zip(table.column("id").to_pylist(), pc.utf8_length(table.column("text")).to_pylist(), strict=True)
    return found


def starts(shards: Sequence[Path]) -> list[int]:
    """Return the number of each shard's first document."""
    return list(accumulate((pq.read_metadata(shard).num_rows for shard in shards[:-1]), initial=0))


def count(shards: Sequence[Path]) -> int:
    """Return how many documents there are."""
    return sum(pq.read_metadata(shard).num_rows for shard in shards)


def _sharded(documents: Iterable[Document]) -> Iterator[list[Document]]:
    shard: list[Document] = []
    characters = 0
    for document in documents:
        shard.append(document)
        characters += len(document.text)
        if len(shard) == SHARD_DOCUMENTS or characters >= SHARD_CHARACTERS:
            yield shard
            shard, characters = [], 0
    if shard:
        yield shard
