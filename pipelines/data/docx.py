"""Word files: paragraphs, lists and tables in the order of the text."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from lxml import etree

from pipelines.data import dates
from pipelines.data.containers import DAMAGED, member
from pipelines.data.documents import Content, UnreadableError

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_TERMS = "{http://purl.org/dc/terms/}"
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
            title, when = _properties(archive, limit)
            styles = _heading_styles(archive, limit)
    except (*DAMAGED, KeyError, etree.XMLSyntaxError) as error:
        raise UnreadableError(f"unreadable DOCX: {error}") from error
    if body is None:
        return Content("", title, None, when)
    marked = (each for each in body.iter(f"{_WORD}p") if _style(each) in styles)
    return Content("\n\n".join(_blocks(body)), title, None, when, tuple(map(_paragraph, marked)))


def parse(data: bytes) -> Any:
    """Parse XML without looking at anything outside of it."""
    return etree.fromstring(data, etree.XMLParser(**_PARSER))


def _properties(archive: zipfile.ZipFile, limit: int) -> tuple[str | None, str | None]:
    """Return the title and the date of the last change."""
    if "docProps/core.xml" not in archive.namelist():
        return None, None
    found = parse(member(archive, "docProps/core.xml", limit))
    when = found.findtext(f"{_TERMS}modified") or found.findtext(f"{_TERMS}created")
    return (found.findtext(_TITLE) or "").strip() or None, dates.parsed(when)


def _heading_styles(archive: zipfile.ZipFile, limit: int) -> frozenset[str]:
    """Return the styles of headings; their names are English in every language, their ids are not."""
    if "word/styles.xml" not in archive.namelist():
        return frozenset()
    found = parse(member(archive, "word/styles.xml", limit)).iter(f"{_WORD}style")
    names = ((style.get(f"{_WORD}styleId"), style.find(f"{_WORD}name")) for style in found)
    return frozenset(
        each for each, name in names if name is not None and name.get(f"{_WORD}val", "").lower().startswith("heading")
    )


def _style(paragraph: Any) -> str | None:
    found = paragraph.find(f"{_WORD}pPr/{_WORD}pStyle")
    return None if found is None else found.get(f"{_WORD}val")


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
