"""Positioned text lines of a PDF page, rotated upright and divided into pieces at wide gaps."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from re import compile as pattern

import pypdfium2
import pypdfium2.raw as pdfium

_SHIFT = 0.2  # font sizes; a larger baseline shift starts a new line
GUTTER = 0.8  # font sizes; narrower gaps are word spaces, also in justified text
_BREAK = pattern(r"[^\r\n\ufffe]*(?:\r\n|\ufffe|\r|\n|\Z)")  # PDFium writes U+FFFE for a hyphen at a line's end

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@dataclass(frozen=True)
class Line:
    """A line with its position in points; the origin is the lower left corner."""

    text: str
    left: float
    """Edge of the first character; in right-to-left text this is greater than `right`."""
    right: float
    first_word: float
    """Width of the first word."""
    baseline: float
    size: float
    """Font size."""
    pieces: tuple["Line", ...] = ()
    """Pieces from left to right, if gaps of a gutter's width divide the line."""

    @property
    def span(self) -> tuple[float, float]:
        """Return the horizontal extent, lower edge first."""
        return min(self.left, self.right), max(self.left, self.right)


def lines(document: pypdfium2.PdfDocument, number: int) -> list[Line]:
    """Return the lines of a page in the order in which PDFium reads them.

    Raises:
        PdfiumError: the page cannot be loaded.
    """
    with closing(document[number]) as page, closing(page.get_textpage()) as layer:
        text = layer.get_text_range()
        if len(text) != layer.count_chars():  # astral characters: two code units for one character
            text = "".join(chr(pdfium.FPDFText_GetUnicode(layer, at)) for at in range(layer.count_chars()))
            text = text.replace("\x02", "\ufffe")
        found = [(match.group(), match.start()) for match in _BREAK.finditer(text) if match.group().strip()]
        turns = Counter(_quarter_turns(layer, start + len(line) - len(line.lstrip())) for line, start in found)
        reader = _Reader(layer, turns.most_common(1)[0][0] if turns else 0)
        visible = ((line.rstrip("\r\n ").replace("\ufffe", "-"), start) for line, start in found)
        return [line for part in visible for line in reader.lines(*part)]


def _quarter_turns(layer: pypdfium2.PdfTextPage, index: int) -> int:
    """Return the counterclockwise rotation of a character in quarter turns."""
    angle: float = pdfium.FPDFText_GetCharAngle(layer, index)
    return round(-angle / (math.pi / 2)) % 4


class _Reader:
    """Measures the lines of a page whose text is mostly rotated by `turns` quarter turns."""

    def __init__(self, layer: pypdfium2.PdfTextPage, turns: int) -> None:
        self.layer, self.turns = layer, turns
        self.boxes: dict[int, Box] = {}

    def lines(self, text: str, start: int) -> Iterator[Line]:
        """Split a PDFium line at baseline shifts; `start` is the index of its first character on the page."""
        size = pdfium.FPDFText_GetFontSize(self.layer, start + len(text) - len(text.lstrip()))
        gaps = [at for at in range(1, len(text) - 1) if text[at] == " " and self._is_wide(start + at, size)]
        first = 0
        for at in gaps:
            before, after = self._box(start + at - 1), self._box(start + at + 1)
            if abs(before[1] - after[1]) > _SHIFT * size and text[first:at].strip():  # the baseline shifts
                yield self._line(text[first:at], start + first, bool(gaps))
                first = at
        yield self._line(text[first:], start + first, bool(gaps))

    def _is_wide(self, space: int, size: float) -> bool:
        """Return whether a space may be a gutter; measuring two neighbours is cheaper than every character."""
        return _distance(self._box(space - 1), self._box(space + 1)) > GUTTER * size

    def _line(self, text: str, start: int, has_gaps: bool) -> Line:
        places = [start + at for at, character in enumerate(text) if not character.isspace()]
        whole = self._placed(text, places)
        spans = _spans([self._box(place) for place in places], GUTTER * whole.size) if has_gaps else []
        if len(spans) < 2:
            return whole
        pieces = []
        for low, high in spans:
            inside = [place for place in places if low <= self._middle(place) <= high]
            kept = set(inside)
            words = (each if each.isspace() or at in kept else "" for at, each in enumerate(text, start))
            pieces += [self._placed("".join(words), inside)] if inside else []
        return replace(whole, pieces=tuple(pieces))

    def _placed(self, text: str, places: Sequence[int]) -> Line:
        """Return the line of a text whose non-space characters have the given indices."""
        first, last = places[0], places[-1]
        left, bottom, _, _ = self._box(first)
        width = self._box(places[len(text.split(maxsplit=1)[0]) - 1])[2] - left
        whole = text.strip().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        size = pdfium.FPDFText_GetFontSize(self.layer, first)
        return Line(whole, left, self._box(last)[2], width, bottom, size)

    def _middle(self, place: int) -> float:
        left, _, right, _ = self._box(place)
        return (left + right) / 2

    def _box(self, place: int) -> Box:
        """Return a character's box on the upright page."""
        if place not in self.boxes:
            left, bottom, right, top = self.layer.get_charbox(place, loose=True)
            for _ in range(self.turns):
                left, bottom, right, top = bottom, -right, top, -left
            self.boxes[place] = left, bottom, right, top
        return self.boxes[place]


def _distance(one: Box, other: Box) -> float:
    return max(other[0] - one[2], one[0] - other[2])


def _spans(boxes: Sequence[Box], gap: float) -> list[tuple[float, float]]:
    """Return the horizontal intervals that boxes cover, merged where they are at most `gap` apart."""
    spans: list[tuple[float, float]] = []
    for left, _, right, _ in sorted(boxes):
        if spans and left - spans[-1][1] <= gap:
            spans[-1] = (spans[-1][0], max(spans[-1][1], right))
        else:
            spans.append((left, right))
    return spans
