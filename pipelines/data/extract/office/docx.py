"""Word reader: paragraphs, lists, tables, text boxes, notes and equations in document order.

Headers, footers and comments are omitted.
"""

import io
import zipfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from pipelines.data.documents import Content, UnreadableError
from pipelines.data.extract import dates
from pipelines.data.extract.archives import DAMAGED
from pipelines.data.extract.office import docx_styles
from pipelines.data.extract.office.docx_styles import Styles, attribute
from pipelines.data.extract.office.docx_text import Block, Reader
from pipelines.data.extract.office.zip_package import Package, resolve_name

_OLE = b"\xd0\xcf\x11\xe0"  # OLE container: encrypted files, and Word files before 2007
_MAIN = "word/document.xml"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_TERMS = "{http://purl.org/dc/terms/}"


def read(data: bytes, limit: int) -> Content:
    """Read a DOCX file whose parts have at most `limit` bytes each.

    The title comes from its properties, else from a paragraph of the style Title, else from the first heading.

    Notes, styles and properties that cannot be read are skipped.

    Raises:
        UnreadableError: the file or its main part is damaged, encrypted or too large.
    """
    if data.startswith(_OLE):
        raise UnreadableError("unreadable DOCX: encrypted, or in the format of Word 97")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _content(Package(archive, limit))
    except RecursionError as error:
        raise UnreadableError("unreadable DOCX: nested too deeply") from error
    except (UnreadableError, *DAMAGED) as error:
        raise UnreadableError(f"unreadable DOCX: {error}") from error


def _content(parts: Package) -> Content:
    top = _relationships(parts, "")
    named = top.get("officeDocument", _MAIN)
    main = named if named in parts else _MAIN
    body = parts.xml(main).find("{*}body")
    own = _relationships(parts, main)
    title, when = _properties(parts, top.get("core-properties", "docProps/core.xml"))
    style_part = _optional(parts, own.get("styles", resolve_name(main, "styles.xml")))
    styles = Styles() if style_part is None else docx_styles.styles(style_part)
    notes = {kind: own.get(kind, resolve_name(main, f"{kind}.xml")) for kind in ("footnotes", "endnotes")}
    reader = Reader(styles, {key: note for kind, name in notes.items() for key, note in _notes(parts, kind, name)})
    blocks = [] if body is None else reader.blocks(body)
    title = title or next(iter([*reader.titles, *reader.headings]), None)
    return Content("\n\n".join(_laid_out(blocks)), title, None, when, tuple(reader.headings), tuple(parts.unreadable))


def _relationships(parts: Package, name: str) -> dict[str, str]:
    """Return the parts related to a part ("" for the package), by the last segment of the relationship type."""
    folder, _, file = name.rpartition("/")
    root = _optional(parts, f"{folder}/_rels/{file}.rels".lstrip("/"))
    every = [] if root is None else [[attribute(each, key) or "" for key in ("Type", "Target")] for each in root]
    return {kind.rpartition("/")[2]: resolve_name(name, target) for kind, target in reversed(every) if target}


def _optional(parts: Package, name: str) -> Any:
    """Return the root of an optional part; None if it is missing or unreadable, which is recorded."""
    return parts.attempt(name, parts.xml) if name in parts else None


def _properties(parts: Package, name: str) -> tuple[str | None, str | None]:
    """Return the title and the date of the last modification."""
    found = _optional(parts, name)
    if found is None:
        return None, None
    when = found.findtext(f"{_TERMS}modified") or found.findtext(f"{_TERMS}created")
    return (found.findtext(_TITLE) or "").strip() or None, dates.parsed(when)


def _notes(parts: Package, kind: str, name: str) -> Iterator[tuple[tuple[str, str | None], Any]]:
    """Yield each note with the key of its references: the element name and the id."""
    root = _optional(parts, name)
    for note in [] if root is None else root.iterfind(f"{{*}}{kind[:-1]}"):
        yield (f"{kind[:-1]}Reference", attribute(note, "id")), note


def _laid_out(blocks: Iterable[Block]) -> Iterator[str]:
    """Yield paragraphs; consecutive list items form one paragraph."""
    for is_item, group in groupby(blocks, lambda block: block.is_item):
        texts = [block.text for block in group]
        yield from ["\n".join(f"- {text}" for text in texts)] if is_item else texts
