"""A document as the tasks from ingest to split hand it on, and the table of them: documents.parquet."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("format", pa.string()),
        ("text", pa.string()),
    ]
)
CLUSTERED = SCHEMA.append(pa.field("cluster", pa.string()))


class UnreadableError(Exception):
    """A file that gives no document. Its message is the reason, in a few words."""


@dataclass(frozen=True)
class Content:
    """What a reader found in a file: text (paragraphs apart by an empty line), title and address."""

    text: str
    title: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Document:
    """A text with where it came from; `source` is the path below the raw folder."""

    id: str
    source: str
    url: str | None
    title: str
    format: str
    text: str


def identified(documents: Iterable[Document]) -> list[Document]:
    """Give each document its id: the first 16 hex digits of its text's SHA-256, which outlives a renaming.

    Of several files with one text, the first by path has the bare id, the others `-2`, `-3`, … after it.
    """
    seen: Counter[str] = Counter()
    named = []
    for document in sorted(documents, key=lambda document: document.source):
        digest = hashlib.sha256(document.text.encode()).hexdigest()[:16]
        seen[digest] += 1
        suffix = f"-{seen[digest]}" if seen[digest] > 1 else ""
        named.append(replace(document, id=digest + suffix))
    return named


def read(path: Path) -> list[Document]:
    """Read a table of documents; a `cluster` column is left out."""
    columns = pq.read_table(path, columns=SCHEMA.names)
    return [Document(*row) for row in zip(*(columns.column(name).to_pylist() for name in SCHEMA.names), strict=True)]


def write(path: Path, documents: Iterable[Document]) -> None:
    """Write a table of documents."""
    _write(path, list(documents), SCHEMA)


def write_clustered(path: Path, documents: Iterable[Document]) -> None:
    """Write a table of documents of which each stands for its cluster."""
    _write(path, list(documents), CLUSTERED)


def _write(path: Path, documents: list[Document], schema: pa.Schema) -> None:
    columns = {
        name: [getattr(each, name if name != "cluster" else "id") for each in documents] for name in schema.names
    }
    pq.write_table(pa.table(columns, schema), path, compression="zstd")
