"""Document schema of the tasks from ingest to split, and the document table: a folder of Parquet shards.

A process holds one shard at a time, which bounds memory regardless of corpus size.
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
"""Boolean selection of a shard's documents."""
CLUSTERED = SCHEMA.append(pa.field("cluster", pa.string()))


class UnreadableError(Exception):
    """A file that yields no document. The message is a short rejection reason."""


@dataclass(frozen=True)
class UnreadablePart:
    """A part of a file, such as a chapter or a page, that could not be read although the rest was."""

    name: str
    reason: str


@dataclass(frozen=True)
class Content:
    """Content extracted from a file: text (paragraphs separated by an empty line), title, URL, date and headings."""

    text: str
    title: str | None = None
    url: str | None = None
    date: str | None = None
    headings: tuple[str, ...] = ()
    unreadable: tuple[UnreadablePart, ...] = ()


@dataclass(frozen=True)
class Document:
    """A text with its provenance; `source` is the path relative to the raw folder."""

    id: str
    source: str
    url: str | None
    title: str
    format: str
    text: str
    date: str | None = None
    """ISO 8601 date at the known precision: 2021-03-04, 2021-03 or 2021."""
    language: str | None = None
    """ISO 639-1 code, detected by `clean`."""
    headings: tuple[str, ...] = ()
    """Headings in document order, without the title."""


def identified(documents: Iterable[Document]) -> Iterator[Document]:
    """Assign ids: the first 16 hex digits of the text's SHA-256, which are stable when a file is renamed.

    Among documents with identical text the first has the plain id, the others a suffix `-2`, `-3`, ….
    """
    seen: Counter[int] = Counter()
    for document in documents:
        digest = hashlib.sha256(document.text.encode()).hexdigest()[:16]
        seen[int(digest, 16)] += 1
        times = seen[int(digest, 16)]
        yield replace(document, id=f"{digest}-{times}" if times > 1 else digest)


def shards(folder: Path) -> list[Path]:
    """Return the shard files of a table, in order."""
    return sorted(folder.glob("*.parquet"))


def read(table: Path) -> Iterator[Document]:
    """Yield the documents of a table, shard by shard, or of one shard; a `cluster` column is ignored."""
    for shard in shards(table) if table.is_dir() else [table]:
        columns = pq.read_table(shard, columns=SCHEMA.names)
        values = {name: columns.column(name).to_pylist() for name in SCHEMA.names}
        values["headings"] = list(map(tuple, values["headings"]))
        yield from (Document(*row) for row in zip(*values.values(), strict=True))


def write(table: Path, documents: Iterable[Document], schema: pa.Schema = SCHEMA) -> None:
    """Write documents as a table of one or more shards."""
    table.mkdir(parents=True, exist_ok=True)
    for number, shard in enumerate(_sharded(documents)):
        write_shard(table / f"{number:05}.parquet", shard, schema)


def write_shard(shard: Path, documents: Sequence[Document], schema: pa.Schema = SCHEMA) -> None:
    """Write one shard; with the `CLUSTERED` schema each document represents its own cluster."""
    columns = {
        name: [getattr(each, "id" if name == "cluster" else name) for each in documents] for name in schema.names
    }
    pq.write_table(pa.table(columns, schema), shard, compression="zstd")


def keep(shard: tuple[Path, Mask], table: Path) -> None:
    """Write the kept documents of a shard to `table`, each as the representative of its cluster."""
    path, kept = shard
    rows = pq.read_table(path, schema=SCHEMA).filter(pa.array(kept))
    pq.write_table(rows.append_column("cluster", rows.column("id")), table / path.name, compression="zstd")


def gather(shards: Sequence[Path], file: Path, ids: Set[str], changed: Mapping[str, str]) -> int:
    """Write the clustered documents with the given ids to one file and return their number.

    `changed` maps ids to replacement texts; documents whose text is empty are dropped.
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
    """Return the named columns of all shards, in order."""
    return pa.concat_tables([pq.read_table(shard, columns=list(names)) for shard in shards])


def sizes(shards: Sequence[Path]) -> dict[str, int]:
    """Return the number of characters of each document by id; only one shard's texts are in memory at a time."""
    lengths: dict[str, int] = {}
    for shard in shards:
        table = pq.read_table(shard, columns=["id", "text"])
        lengths |= zip(table.column("id").to_pylist(), pc.utf8_length(table.column("text")).to_pylist(), strict=True)
    return lengths


def starts(shards: Sequence[Path]) -> list[int]:
    """Return the index of each shard's first document in the table."""
    return list(accumulate((pq.read_metadata(shard).num_rows for shard in shards[:-1]), initial=0))


def count(shards: Sequence[Path]) -> int:
    """Return the number of documents."""
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
