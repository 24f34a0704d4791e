"""From a file to a document: the reader its suffix asks for, and what makes a file unfit."""

import os
from pathlib import Path

from pipelines.data import html, markdown, pdf, plain
from pipelines.data.documents import Content, Document, UnreadableError

FORMATS = {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
    ".pdf": "pdf",
}


def sources(folder: Path) -> list[Path]:
    """Return the files below `folder` in order of their paths, hidden ones left out."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def name(path: Path, folder: Path) -> str:
    """Return a file's path below `folder`, as the tables hold it: bytes that are not UTF-8 are replaced."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "replace")


def extract(path: Path, folder: Path, max_bytes: int, min_characters: int) -> Document:
    """Read one file below `folder` as a document, still without its id.

    Raises:
        UnreadableError: with the reason.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UnreadableError(f"unknown suffix {path.suffix!r}")
    content = _read(kind, _bytes(path, folder, max_bytes), min_characters)
    text = content.text.strip()
    if len(text) < min_characters:
        raise UnreadableError(f"less than {min_characters} characters of text")
    source = name(path, folder)
    return Document("", source, content.url, content.title or Path(source).stem, kind, text)


def _bytes(path: Path, folder: Path, limit: int) -> bytes:
    try:
        if not path.resolve(strict=True).is_relative_to(folder.resolve()):
            raise UnreadableError("link out of the folder")
        if path.stat().st_size > limit:
            raise UnreadableError(f"larger than {limit} bytes")
        return path.read_bytes()
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError before Python 3.13
        raise UnreadableError(f"cannot be opened: {error}") from error


def _read(kind: str, data: bytes, enough: int) -> Content:
    if kind == "html":
        return html.read(data, enough)
    if kind == "markdown":
        return markdown.read(data)
    return pdf.read(data) if kind == "pdf" else plain.read(data)
