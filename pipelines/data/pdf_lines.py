"""The lines of a PDF page as they are placed, turned upright, each with its pieces between wide gaps."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from re import compile as pattern

import pypdfium2
import pypdfium2.raw as pdfium

_SHIFT = 0.2  # font sizes between the baselines of two lines
GUTTER = 0.8  # font sizes; narrower gaps are spaces between words, also in justified text
_BREAK = pattern(r"[^\r\n\ufffe]*(?:\r\n|\ufffe|\r|\n|\Z)")  # PDFium writes U+FFFE for a hyphen at a line's end

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@dataclass(frozen=True)
class Line:
    """A line and where it stands, in points; the origin is the lower left corner."""

    text: str
    left: float
    """Of its first character: where its text runs from right to left, the greater of the two."""
    right: float
    first_word: float
    """Width of its first word."""
    baseline: float
    size: float
    """Of the font."""
    pieces: tuple["Line", ...] = ()
    """From left to right, where gaps as wide as a gutter divide it."""

    @property
    def span(self) -> tuple[float, float]:
        """Return its edges, the lesser first."""
        return min(self.left, self.right), max(self.left, self.right)


def lines(document: pypdfium2.PdfDocument, number: int) -> list[Line]:
    """Return the lines of a page in the order in which PDFium reads them.

    Raises:
        PdfiumError: the page cannot be loaded.
    """
    with closing(document[number]) as page, closing(page.get_textpage()) as layer:
        text = layer.get_text_range()
        if len(text) != layer.count_chars():  # astral characters: two code units, one character
            text = "".join(chr(pdfium.FPDFText_GetUnicode(layer, at)) for at in range(layer.count_chars()))
            text = text.replace("\x02", "\ufffe")
        found = [(match.group(), match.start()) for match in _BREAK.finditer(text) if match.group().strip()]
        turns = Counter(_quarter_turns(layer, start + len(line) - len(line.lstrip())) for line, start in found)
        reader = _Reader(layer, turns.most_common(1)[0][0] if turns else 0)
        visible = ((line.rstrip("\r\n ").replace("\ufffe", "-"), start) for line, start in found)
        return [reader.line(*part) for line in visible for part in reader.divided(*line)]


def _quarter_turns(layer: pypdfium2.PdfTextPage, index: int) -> int:
    """Return by how many right angles a character is turned counterclockwise."""
    angle: float = pdfium.FPDFText_GetCharAngle(layer, index)
    return round(-angle / (math.pi / 2)) % 4


class _Reader:
    """Measures the lines of a page most of whose text is turned by that many right angles."""

    def __init__(self, layer: pypdfium2.PdfTextPage, turns: int) -> None:
        self.layer, self.turns = layer, turns

    def divided(self, text: str, start: int) -> Iterator[tuple[str, int]]:
        """Yield what PDFium takes for a line, divided where its text goes on elsewhere and higher or lower."""
        size = pdfium.FPDFText_GetFontSize(self.layer, start + len(text) - len(text.lstrip()))
        first = 0
        for at in self._gaps(text, start, size):
            before, after = self._box(start + at - 1), self._box(start + at + 1)
            if abs(before[1] - after[1]) > _SHIFT * size and text[first:at].strip():
                yield text[first:at], start + first
                first = at
        yield text[first:], start + first

    def line(self, text: str, start: int) -> Line:
        """Return the line of `text`, whose first character is the page's number `start`."""
        places = [start + at for at, character in enumerate(text) if not character.isspace()]
        whole = self._placed(text, start, places)
        if not any(self._gaps(text, start, whole.size)):
            return whole
        spans = _spans([self._box(place) for place in places], GUTTER * whole.size)
        if len(spans) < 2:
            return whole
        parted = [[place for place in places if low <= self._middle(place) <= high] for low, high in spans]
        return replace(whole, pieces=tuple(self._placed(text, start, part) for part in parted if part))

    def _placed(self, text: str, start: int, places: Sequence[int]) -> Line:
        """Return the line of the characters at some places, with the spaces among them."""
        first, last = places[0], places[-1]
        kept = set(places)
        chosen = "".join(each for at, each in enumerate(text, start) if each.isspace() or at in kept)
        words = chosen.split()
        left, bottom, _, _ = self._box(first)
        width = self._box(places[len(words[0]) - 1])[2] - left
        whole = chosen.strip().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        size = pdfium.FPDFText_GetFontSize(self.layer, first)
        return Line(whole, left, self._box(last)[2], width, bottom, size)

    def _gaps(self, text: str, start: int, size: float) -> Iterator[int]:
        """Yield the spaces that may be gutters; measuring their neighbours is cheaper than every character."""
        for at in range(1, len(text) - 1):
            if text[at] == " " and _distance(self._box(start + at - 1), self._box(start + at + 1)) > GUTTER * size:
                yield at

    def _middle(self, place: int) -> float:
        left, _, right, _ = self._box(place)
        return (left + right) / 2

    def _box(self, place: int) -> Box:
        """Return a character's box on the page turned upright."""
        left, bottom, right, top = self.layer.get_charbox(place, loose=True)
        for _ in range(self.turns):
            left, bottom, right, top = bottom, -right, top, -left
        return left, bottom, right, top


def _distance(one: Box, other: Box) -> float:
    return max(other[0] - one[2], one[0] - other[2])


def _spans(boxes: Sequence[Box], gap: float) -> list[tuple[float, float]]:
    """Return the intervals that boxes cover, those united that less than a `gap` divides."""
    spans: list[tuple[float, float]] = []
    for left, _, right, _ in sorted(boxes):
        if spans and left - spans[-1][1] <= gap:
            spans[-1] = (spans[-1][0], max(spans[-1][1], right))
        else:
            spans.append((left, right))
    return spans
