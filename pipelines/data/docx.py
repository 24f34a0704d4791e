"""Word files: paragraphs, lists and tables in the order of the text."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from lxml import etree

from pipelines.data.containers import DAMAGED, member
from pipelines.data.documents import Content, UnreadableError

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_PARSER = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}


def read(data: bytes, limit: int) -> Content:
    """Read a DOCX file whose text is no larger than `limit` bytes; its title is the one among its properties.

    Raises:
        UnreadableError: it is damaged, encrypted or too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            body = parse(member(archive, "word/document.xml", limit)).find(f"{_WORD}body")
            title = _title(archive, limit)
    except (*DAMAGED, KeyError, etree.XMLSyntaxError) as error:
        raise UnreadableError(f"unreadable DOCX: {error}") from error
    return Content("\n\n".join(_blocks(body)) if body is not None else "", title)


def parse(data: bytes) -> Any:
    """Parse XML without looking at anything outside of it."""
    return etree.fromstring(data, etree.XMLParser(**_PARSER))


def _title(archive: zipfile.ZipFile, limit: int) -> str | None:
    if "docProps/core.xml" not in archive.namelist():
        return None
    found = parse(member(archive, "docProps/core.xml", limit)).findtext(_TITLE)
    return found.strip() or None if found else None


def _blocks(body: Any) -> Iterator[str]:
    items: list[str] = []
    for element in body:
        text = _table(element) if element.tag == f"{_WORD}tbl" else _paragraph(element)
        if text and element.find(f".//{_WORD}numPr") is not None and element.tag == f"{_WORD}p":
            items.append(f"- {text}")
            continue
        if items:
            yield "\n".join(items)
            items = []
        if text:
            yield text
    if items:
        yield "\n".join(items)


def _table(element: Any) -> str:
    rows = element.iter(f"{_WORD}tr")
    cells = ([" ".join(map(_paragraph, cell.iter(f"{_WORD}p"))) for cell in row.iter(f"{_WORD}tc")] for row in rows)
    return "\n".join(" | ".join(row) for row in cells)


def _paragraph(element: Any) -> str:
    marks = {f"{_WORD}tab": " ", f"{_WORD}br": "\n", f"{_WORD}cr": "\n"}
    pieces = (each.text or "" if each.tag == f"{_WORD}t" else marks.get(each.tag, "") for each in element.iter())
    return "".join(pieces).strip()
