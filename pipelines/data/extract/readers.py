"""Extract documents from a file with the reader for its suffix; unreadable files and parts become rejects."""

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.data.documents import Content, Document, UnreadableError
from pipelines.data.extract import archives, markdown, plain, tables
from pipelines.data.extract.office import docx, epub
from pipelines.data.extract.pdf import pdf
from pipelines.data.extract.web import html, warc
from pipelines.text.encoding import encodable_value
from pipelines.text.words import unspaced, words

FORMATS = {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
    ".pdf": "pdf",
    ".docx": "docx",
    ".epub": "epub",
}
ROWS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".warc": "warc"}
PACKED = frozenset({*archives.COMPRESSED, ".tgz", ".zip", ".tar"})
KINDS = sorted({*FORMATS.values(), *ROWS.values()})


@dataclass(frozen=True)
class Reject:
    """A file, or a part of one, that yields no document."""

    source: str
    reason: str
    part: bool = False
    """Whether this is a part of a file whose other parts were read; `source` is then `file#part`."""


@dataclass(frozen=True)
class Limits:
    """Size limits of a document."""

    max_bytes: int
    """Maximum size of a document's file, before or after decompression."""
    min_characters: int
    """Minimum length of the text; a character of an unspaced script counts twice."""


Found = Document | Reject


def sources(folder: Path) -> list[Path]:
    """Return the files below `folder` sorted by name, without hidden files."""
    files = (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    visible = (path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(visible, key=lambda path: name(path, folder))


def name(path: Path, folder: Path) -> str:
    """Return a file's path relative to `folder` as stored in the tables; bytes that are not UTF-8 are replaced."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "replace")


def extract(path: Path, folder: Path, limits: Limits) -> Iterator[Found]:
    """Yield the documents of a file below `folder`, without ids, and the rejects.

    All strings can be encoded as UTF-8.
    """
    for found in _extract(path, folder, limits):
        yield type(found)(**{field: encodable_value(value) for field, value in vars(found).items()})


def _extract(path: Path, folder: Path, limits: Limits) -> Iterator[Found]:
    source = name(path, folder)
    try:
        if not path.resolve(strict=True).is_relative_to(folder.resolve()):
            raise UnreadableError("link out of the folder")
        size = path.stat().st_size
        if size > limits.max_bytes and _suffix(source) not in {*PACKED, *ROWS}:
            raise UnreadableError(f"larger than {limits.max_bytes} bytes")
        with path.open("rb") as stream:
            found = None
            for found in _read(source, source, stream, limits, max(limits.max_bytes, archives.RATIO * size), 0):
                yield found
        if found is None:
            raise UnreadableError("holds no document")
    except UnreadableError as reason:
        yield Reject(source, str(reason))
    except (OSError, RuntimeError) as error:  # a symlink loop is a RuntimeError before Python 3.13
        yield Reject(source, f"cannot be opened: {error}")


def _suffix(file: str) -> str:
    """Return the suffix that selects the reader; a compressed web archive is `.warc`, as its reader unpacks it."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(file).suffixes[-2:]]
    return ".warc" if suffixes[:1] == [".warc"] else "".join(suffixes[-1:])


def _read(source: str, file: str, stream: Any, limits: Limits, most: int, depth: int) -> Iterator[Found]:
    """Read a stream named `file` with the path `source`; its decompressed size may be at most `most` bytes.

    `stream` is an UnreadableError if the enclosing archive could not open it.
    """
    suffix = _suffix(file)
    try:
        if isinstance(stream, UnreadableError):
            raise stream
        if depth > archives.DEPTH:
            raise UnreadableError(f"more than {archives.DEPTH} archives deep")
        if suffix in PACKED:
            for inner, at, content in _unpacked(source, file, suffix, stream, limits, most):
                yield from _read(at, inner, content, limits, most, depth + 1)
        elif suffix in ROWS:
            yield from _rows(source, ROWS[suffix], stream, limits)
        else:
            yield from _document(source, suffix, stream, limits)
    except UnreadableError as reason:
        yield Reject(source, str(reason))
    except archives.DAMAGED as error:
        yield Reject(source, f"damaged: {error}")
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  a failing reader must not affect other parts of the file
        yield Reject(source, f"its reader failed: {type(error).__name__}: {error}")


def _unpacked(
    source: str, file: str, suffix: str, stream: Any, limits: Limits, most: int
) -> Iterator[tuple[str, str, Any]]:
    """Yield the name, the path and the content of each file in a container."""
    if suffix in archives.COMPRESSED or suffix == ".tgz":
        only, unpacked = archives.uncompressed(file, stream, most)
        yield only, source, unpacked
        return
    members: Iterator[tuple[str, Any]]
    members = archives.zipped(_seekable(stream, limits), most) if suffix == ".zip" else archives.tarred(stream, most)
    for inner, content in members:
        if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(inner).parts if part != ".."):
            yield inner, f"{source}/{inner}", content


def _seekable(stream: Any, limits: Limits) -> Any:
    return stream if stream.seekable() else io.BytesIO(archives.whole(stream, limits.max_bytes))


def _rows(source: str, kind: str, stream: Any, limits: Limits) -> Iterator[Found]:
    if kind == "warc":
        for number, page in enumerate(warc.pages(_seekable(stream, limits), limits.max_bytes), 1):
            yield from _page(f"{source}#{number}", page, limits)
        return
    lines = kind == "jsonl"
    rows = tables.lines(stream, limits.max_bytes) if lines else tables.table(_seekable(stream, limits))
    for number, found in enumerate(rows, 1):
        yield from _results(f"{source}#{number}", kind, found, limits)


def _page(source: str, found: warc.Page | UnreadableError, limits: Limits) -> Iterator[Found]:
    try:
        if isinstance(found, UnreadableError):
            raise found
        content = _content(found.kind, found.data, limits, found.charset)
    except UnreadableError as reason:
        yield Reject(source, str(reason))
        return
    yield from _results(source, "warc", replace(content, url=content.url or found.url or None), limits)


def _document(source: str, suffix: str, stream: Any, limits: Limits) -> Iterator[Found]:
    kind = FORMATS.get(suffix)
    if kind is None:
        raise UnreadableError(f"unknown suffix {suffix!r}")
    data = archives.whole(stream, limits.max_bytes)
    yield from _results(source, kind, _content(kind, data, limits), limits)


def _content(kind: str, data: bytes, limits: Limits, charset: str | None = None) -> Content:
    """Read one document; `charset` is the one declared in an HTTP header."""
    if kind == "html":
        return html.read(data, limits.min_characters, charset)
    if kind == "markdown":
        return markdown.read(data, charset)
    if kind == "docx":
        return docx.read(data, limits.max_bytes)
    if kind == "epub":
        return epub.read(data, limits.max_bytes)
    return pdf.read(data) if kind == "pdf" else plain.read(data, charset)


def _results(source: str, kind: str, content: Content | UnreadableError, limits: Limits) -> Iterator[Found]:
    if isinstance(content, UnreadableError):
        yield Reject(source, str(content))
        return
    yield _document_or_reject(source, kind, content, limits)
    yield from (Reject(f"{source}#{each.name}", each.reason, part=True) for each in content.unreadable)


def _document_or_reject(source: str, kind: str, content: Content, limits: Limits) -> Found:
    text = content.text.strip()
    if len(text) + unspaced(text[: limits.min_characters]) < limits.min_characters:
        return Reject(source, f"less than {limits.min_characters} characters of text")
    title = content.title or _title_of_name(PurePosixPath(source).stem)
    headings = tuple(heading for heading in content.headings if heading and heading != title)
    return Document("", source, content.url, title, kind, text, content.date, None, headings)


def _title_of_name(stem: str) -> str:
    """Return a file name of several words as a title; a single one ("scan0012", "minutes") says nothing of the text."""
    title = " ".join(re.split(r"[\s_-]+", stem)).strip()
    return title if sum(map(str.isalpha, words(title))) > 1 else ""
