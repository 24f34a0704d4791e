"""PDF reader: paragraphs from positioned lines, without running heads and page numbers, with hyphenation undone."""

import ctypes
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from pipelines.data import paragraphs
from pipelines.data.documents import Content, UnreadableError, UnreadablePart
from pipelines.data.extract import dates
from pipelines.data.extract.pdf import columns
from pipelines.data.extract.pdf.lines import Line, lines

_FACTS = (b"Title", b"ModDate", b"CreationDate")
_EDGE_LINES = 3  # lines at the top and bottom of a page that may be running heads
_COLUMN = 3.0  # font sizes; lines whose left edges are closer than this share a column
_INDENT = 0.8  # font sizes; a larger indent starts a paragraph
_SPACE = 0.5  # font sizes; width of a word space with tolerance for measurement error
_PITCH = 1.3  # multiple of the median line distance; a larger distance starts a paragraph


def read(data: bytes) -> Content:
    """Read a PDF file; scanned pages without a text layer yield no text.

    Raises:
        UnreadableError: the file is damaged or requires a password.
    """
    try:
        with closing(pypdfium2.PdfDocument(data)) as document:
            pages, unreadable = _pages(document)
            facts = (partial(pdfium.FPDF_GetMetaText, document, key) for key in _FACTS)
            title, changed, created = map(_utf16, facts)
            marks = [_utf16(partial(pdfium.FPDFBookmark_GetTitle, mark)) for mark in document.get_toc()]
    except pypdfium2.PdfiumError as error:
        raise UnreadableError(f"unreadable PDF: {error}") from error
    text = _text([region for page in _without_furniture(pages) for region in columns.regions(page)])
    headings = tuple(mark.strip() for mark in marks)
    return Content(text, title.strip() or None, None, dates.parsed(changed or created), headings, tuple(unreadable))


def _pages(document: pypdfium2.PdfDocument) -> tuple[list[list[Line]], list[UnreadablePart]]:
    """Return the lines of each readable page, and the unreadable pages.

    Raises:
        PdfiumError: no page can be read.
    """
    pages: list[list[Line]] = []
    unreadable: list[UnreadablePart] = []
    for number in range(len(document)):
        try:
            pages.append(lines(document, number))
        except pypdfium2.PdfiumError as error:
            unreadable.append(UnreadablePart(f"page {number + 1}", str(error)))
            if len(unreadable) == len(document):
                raise
    return pages, unreadable


def _utf16(read: Callable[[Any, int], int]) -> str:
    """Return a text that PDFium writes into a buffer; a lone surrogate becomes U+FFFD."""
    buffer = ctypes.create_string_buffer(read(None, 0))
    read(buffer, len(buffer))
    return buffer.raw[:-2].decode("utf-16-le", "replace")


def _without_furniture(pages: list[list[Line]]) -> list[list[Line]]:
    """Remove running heads and page numbers: lines at page edges that are equal on several pages except for digits."""
    seen = Counter(key for page in pages for key in {_place(line) for line in _edges(page)})
    furniture = {key for key, count in seen.items() if count >= max(2, len(pages) / 3)}
    return [[line for line in page if not (line in _edges(page) and _place(line) in furniture)] for page in pages]


def _edges(page: list[Line]) -> list[Line]:
    by_height = sorted(page, key=lambda line: line.baseline)
    return by_height[:_EDGE_LINES] + by_height[-_EDGE_LINES:]


def _place(line: Line) -> tuple[str, int]:
    return re.sub(r"\d+", "#", line.text), round(line.baseline)


def _text(pages: list[list[Line]]) -> str:
    known = paragraphs.vocabulary(" ".join(line.text for page in pages for line in page))
    return "\n\n".join(paragraphs.joined(lines, known) for lines in _paragraphs(pages))


def _paragraphs(pages: list[list[Line]]) -> Iterator[list[str]]:
    current: list[str] = []
    before: Line | None = None
    edge = 0.0
    for page in pages:
        pitch = _pitch(page)
        for line in page:
            if before is not None and not _continues(before, line, edge, pitch):
                yield current
                current = []
            current.append(line.text)
            before, edge = line, _column_edge(line, page)
    if current:
        yield current


def _pitch(page: list[Line]) -> float:
    """Return the median line distance of a page."""
    gaps = [a.baseline - b.baseline for a, b in pairwise(page) if a.baseline > b.baseline]
    return median(gaps) if gaps else 0.0


def _column_edge(line: Line, page: list[Line]) -> float:
    return max(other.right for other in page if abs(other.left - line.left) < _COLUMN * line.size)


def _continues(before: Line, line: Line, edge: float, pitch: float) -> bool:
    """Return whether a line continues the paragraph of `before`, whose column ends at `edge`."""
    same_column = before.baseline > line.baseline
    if same_column and (
        before.baseline - line.baseline > _PITCH * pitch or line.left - before.left > _INDENT * line.size
    ):
        return False
    if abs(before.size - line.size) > 0.05 * before.size or paragraphs.ITEM.match(line.text):
        return False
    return line.text[0].islower() or before.right + _SPACE * line.size + line.first_word > edge
