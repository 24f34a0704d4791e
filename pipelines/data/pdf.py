"""PDF files: paragraphs out of placed lines, without running heads and page numbers, words undivided."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import pypdfium2
import pypdfium2.raw as pdfium

from pipelines.data import dates, paragraphs
from pipelines.data.documents import Content, UnreadableError

_EDGE_LINES = 3  # how many lines at the top and at the bottom of a page may be running heads
_BREAK = re.compile(r"[^\r\n\ufffe]*(?:\r\n|\ufffe|\r|\n|\Z)")  # PDFium writes U+FFFE for a hyphen at a line's end
_COLUMN = 3.0  # font sizes; lines whose left edges are closer than this share a column
_INDENT = 0.8  # font sizes
_SPACE = 0.5  # font sizes between two words, with room for what measuring misses
_PITCH = 1.3  # of the usual distance of two lines; more begins a paragraph


@dataclass(frozen=True)
class Line:
    """A line and where it stands, in points from the page's lower left corner."""

    text: str
    left: float
    right: float
    first_word: float
    """Width of its first word."""
    baseline: float
    size: float
    """Of the font."""


def read(data: bytes) -> Content:
    """Read a PDF file; a scanned page without a text layer gives no text.

    Raises:
        UnreadableError: it is damaged or asks for a password.
    """
    try:
        with closing(pypdfium2.PdfDocument(data)) as document:
            pages = [_lines(document, number) for number in range(len(document))]
            title = document.get_metadata_value("Title").strip()
            when = document.get_metadata_value("ModDate") or document.get_metadata_value("CreationDate")
            headings = tuple(mark.get_title().strip() for mark in document.get_toc())
    except pypdfium2.PdfiumError as error:
        raise UnreadableError(f"unreadable PDF: {error}") from error
    text = _text(_without_furniture(pages))
    return Content(text, title or None, None, dates.parsed(when), headings)


def _lines(document: pypdfium2.PdfDocument, number: int) -> list[Line]:
    with closing(document[number]) as page, closing(page.get_textpage()) as layer:
        text = layer.get_text_range()
        if len(text) != layer.count_chars():  # astral characters: two code units, one character
            text = "".join(chr(pdfium.FPDFText_GetUnicode(layer, at)) for at in range(layer.count_chars()))
            text = text.replace("\x02", "\ufffe")
        return [_line(layer, found.group(), found.start()) for found in _BREAK.finditer(text) if found.group().strip()]


def _line(layer: pypdfium2.PdfTextPage, text: str, start: int) -> Line:
    visible = text.rstrip("\r\n ").replace("\ufffe", "-")
    first = start + len(visible) - len(visible.lstrip())
    word = first + len(visible.split()[0]) - 1
    left, bottom, _, _ = layer.get_charbox(first, loose=True)
    right = layer.get_charbox(start + len(visible) - 1, loose=True)[2]
    width = layer.get_charbox(word, loose=True)[2] - left
    whole = visible.strip().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return Line(whole, left, right, width, bottom, pdfium.FPDFText_GetFontSize(layer, first))


def _without_furniture(pages: list[list[Line]]) -> list[list[Line]]:
    """Drop running heads and page numbers: equal lines (but for digits) at the edge of several pages."""
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
    """Return the usual distance of two lines of a page."""
    gaps = [a.baseline - b.baseline for a, b in pairwise(page) if a.baseline > b.baseline]
    return median(gaps) if gaps else 0.0


def _column_edge(line: Line, page: list[Line]) -> float:
    return max(other.right for other in page if abs(other.left - line.left) < _COLUMN * line.size)


def _continues(before: Line, line: Line, edge: float, pitch: float) -> bool:
    """Say whether a line goes on with the paragraph of the one before, whose column ends at `edge`."""
    same_column = before.baseline > line.baseline
    if same_column and (
        before.baseline - line.baseline > _PITCH * pitch or line.left - before.left > _INDENT * line.size
    ):
        return False
    if abs(before.size - line.size) > 0.05 * before.size or paragraphs.ITEM.match(line.text):
        return False
    return line.text[0].islower() or before.right + _SPACE * line.size + line.first_word > edge
