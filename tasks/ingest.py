"""Ingest: from files to documents.

Reads the folder `ingest.source`; writes artifacts/ingest/{documents.parquet, rejects.jsonl}.
Alone: python -m tasks.ingest
"""

from pathlib import Path

from pipelines import artifacts
from pipelines.config import IngestConfig
from pipelines.data import documents
from pipelines.data.documents import Document, UnreadableError
from pipelines.data.extract import FORMATS, extract, name, sources
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
        raise UserError(f"{config.source} is empty; put HTML, Markdown, text or PDF documents there.")
    found, rejects = _read(paths, config)
    artifacts.write_rows(out / "rejects.jsonl", rejects)
    _check(found, rejects, config)
    kept = documents.identified(found)
    documents.write(out / "documents.parquet", kept)
    formats = {f"documents_{kind}": sum(each.format == kind for each in kept) for kind in sorted(set(FORMATS.values()))}
    return {
        "documents": len(kept),
        "rejected": len(rejects),
        "characters": sum(len(each.text) for each in kept),
        **formats,
    }


def _read(paths: list[Path], config: IngestConfig) -> tuple[list[Document], list[dict[str, str]]]:
    found, rejects = [], []
    for path in track(paths, "reading", len(paths)):
        try:
            found.append(extract(path, config.source, config.max_bytes, config.min_characters))
        except UnreadableError as reason:
            rejects.append({"source": name(path, config.source), "reason": str(reason)})
    return found, rejects


def _check(found: list[Document], rejects: list[dict[str, str]], config: IngestConfig) -> None:
    share = len(rejects) / (len(rejects) + len(found))
    if not found or share > config.max_rejected_share:
        first = rejects[0]
        raise UserError(
            f"{len(rejects)} of {len(rejects) + len(found)} files in {config.source} are unusable "
            f"(the first: {first['source']}, {first['reason']}); mend them, or raise max_rejected_share."
        )


if __name__ == "__main__":
    with task("ingest") as t:
        t.finish(ingest(t.config.ingest, t.out))
