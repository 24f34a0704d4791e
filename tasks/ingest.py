"""Ingest: extract documents from files.

Reads the folder `ingest.source`; writes artifacts/ingest/{documents/, rejects.jsonl}.
Standalone: python -m tasks.ingest
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path

from pipelines import artifacts
from pipelines.data import documents
from pipelines.data.config import IngestConfig
from pipelines.data.documents import Document
from pipelines.data.extract import worker_pool
from pipelines.data.extract.readers import KINDS, Found, Limits, Reject, sources
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import track
from tasks import task


def ingest(config: IngestConfig, out: Path) -> dict[str, float]:
    """Read every file; return the number of documents by format and of rejects.

    Raises:
        UserError: the folder is missing or empty, no document is usable, or too many are rejected.
    """
    if not config.source.is_dir():
        raise UserError(f"{config.source} is not a folder; create it or change ingest.source in params.yaml.")
    paths = sources(config.source)
    if not paths:
        raise UserError(f"{config.source} is empty; add HTML, Markdown, text, PDF, DOCX or EPUB documents to it.")
    limits = Limits(config.max_bytes, config.min_characters)
    read = worker_pool.read(paths, config.source, limits, config.max_seconds, config.max_memory_mb)
    counts = Counts()
    found = _documents(track(read, "reading", len(paths)), counts, out / "rejects.jsonl")
    documents.write(out / "documents", documents.identified(found))
    _check(counts, config)
    return {
        "documents": counts.documents,
        "rejected": counts.rejected,
        "rejected_parts": counts.rejected_parts,
        "characters": counts.characters,
        "documents_with_date": counts.dated,
        "documents_with_headings": counts.headed,
        **{f"documents_{kind}": float(counts.formats[kind]) for kind in KINDS},
    }


@dataclass
class Counts:
    """Counts of documents and rejects."""

    rejected: int = 0
    rejected_parts: int = 0
    """Unreadable parts of documents that were read without them."""
    first: Reject | None = None
    characters: int = 0
    dated: int = 0
    headed: int = 0
    formats: Counter[str] = field(default_factory=Counter)

    @property
    def documents(self) -> int:
        """Return the number of documents of all formats."""
        return self.formats.total()


def _documents(files: Iterable[Iterable[Found]], counts: Counts, rejects: Path) -> Iterator[Document]:
    """Yield and count the documents; write the rejects to a file."""
    artifacts.write_rows(rejects, [])
    for each in chain.from_iterable(files):
        if isinstance(each, Document):
            counts.formats[each.format] += 1
            counts.characters += len(each.text)
            counts.dated += each.date is not None
            counts.headed += bool(each.headings)
            yield each
        else:
            if each.part:
                counts.rejected_parts += 1
            else:
                counts.rejected += 1
                counts.first = counts.first or each
            artifacts.add_rows(rejects, [asdict(each)])


def _check(counts: Counts, config: IngestConfig) -> None:
    total = counts.rejected + counts.documents
    if counts.first and (not counts.documents or counts.rejected > config.max_rejected_share * total):
        raise UserError(
            f"{counts.rejected} of {total} documents in {config.source} were rejected (the first is "
            f"{counts.first.source}: {counts.first.reason}); fix them or raise ingest.max_rejected_share."
        )


if __name__ == "__main__":
    with task("ingest") as t:
        t.finish(ingest(t.config.ingest, t.out))
