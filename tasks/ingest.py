"""Ingest: from files to documents.

Reads the folder `ingest.source`; writes artifacts/ingest/{documents.parquet, rejects.jsonl}.
Alone: python -m tasks.ingest
"""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from pipelines import artifacts
from pipelines.config import IngestConfig
from pipelines.data import documents, reading
from pipelines.data.documents import Document
from pipelines.data.extract import KINDS, Limits, Reject, sources
from pipelines.errors import UserError
from pipelines.progress import track
from tasks import task


def ingest(config: IngestConfig, out: Path) -> dict[str, float]:
    """Read every file; returns what was found, by format, and what was rejected.

    Raises:
        UserError: the folder is missing or empty, nothing in it is usable, or too much is not.
    """
    if not config.source.is_dir():
        raise UserError(f"{config.source} is not a folder; put documents there or change ingest.source in params.yaml.")
    paths = sources(config.source)
    if not paths:
        raise UserError(f"{config.source} is empty; put HTML, Markdown, text, PDF, DOCX or EPUB documents there.")
    limits = Limits(config.max_bytes, config.min_characters)
    read = reading.read(paths, config.source, limits, config.max_seconds, config.max_memory_mb)
    everything = [found for file in track(read, "reading", len(paths)) for found in file]
    found = [each for each in everything if isinstance(each, Document)]
    rejects = [each for each in everything if isinstance(each, Reject)]
    artifacts.write_rows(out / "rejects.jsonl", map(asdict, rejects))
    _check(found, rejects, config)
    kept = documents.identified(found)
    documents.write(out / "documents.parquet", kept)
    formats = Counter(each.format for each in kept)
    return {
        "documents": len(kept),
        "rejected": len(rejects),
        "characters": sum(len(each.text) for each in kept),
        **{f"documents_{kind}": float(formats[kind]) for kind in KINDS},
    }


def _check(found: list[Document], rejects: list[Reject], config: IngestConfig) -> None:
    share = len(rejects) / (len(rejects) + len(found))
    if not found or share > config.max_rejected_share:
        first = rejects[0]
        raise UserError(
            f"{len(rejects)} of {len(rejects) + len(found)} documents in {config.source} are unusable "
            f"(the first: {first.source}, {first.reason}); mend them, or raise max_rejected_share."
        )


if __name__ == "__main__":
    with task("ingest") as t:
        t.finish(ingest(t.config.ingest, t.out))
