"""Reading order by recursive XY-cut (Nagy and Seth 1984), with vertical cuts only between columns of prose.

Consecutive rows that share a gutter form a band. A band whose columns are filled with running text is read column by
column, recursively; everything else (titles, tables, captions across columns) keeps the order of the file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import inf
from statistics import median

from pipelines.data.extract.pdf.lines import GUTTER, Line

_ROWS = 3  # minimum rows that two columns share, unless another band of the page has the same gutter
_NARROWEST = 8.0  # font sizes; the median line of a column is wider, most table cells are narrower
_FILLED = 0.7  # minimum median line width of running text, as a share of the column width
_CELL = 0.6  # share of the column width; rows whose pieces are all shorter belong to a table
_MIDSENTENCE = 0.2  # minimum share of lines that begin with a lower-case letter, in scripts with case
_APART = 1.8  # multiple of the median row distance; a larger gap ends the columns
_SAME_ROW = 1.0  # font sizes; maximum baseline distance of lines in one row

Span = tuple[float, float]


@dataclass(frozen=True)
class _Piece:
    """A part of a line, or the whole line if it is undivided, with the line's number in the file."""

    line: Line
    number: int

    @property
    def span(self) -> Span:
        return self.line.span


@dataclass
class _Band:
    """Rows from top to bottom, and the horizontal intervals that all of them leave free, including the margins."""

    rows: list[list[_Piece]]
    free: list[Span]

    @property
    def gutters(self) -> list[Span]:
        return self.free[1:-1]

    @property
    def pieces(self) -> list[_Piece]:
        return [piece for row in self.rows for piece in row]


def regions(lines: Sequence[Line]) -> list[list[Line]]:
    """Return the lines of a page in reading order, grouped by region: a column, or the text between columns."""
    pieces = [_Piece(piece, number) for number, line in enumerate(lines) for piece in line.pieces or (line,)]
    return [_rejoined(group, lines) for group in _cut(pieces)] if pieces else []


def _cut(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    rows = _rows(pieces)
    size = median(piece.line.size for piece in pieces)
    width = GUTTER * size
    bands = [part for band in _bands(rows, width) for part in _without_tables(band)]
    sure = [
        band for band in bands if _is_prose(band, size) and sum(_is_divided(row, width) for row in band.rows) >= _ROWS
    ]
    found: list[list[_Piece]] = []
    for is_columns, group in groupby(bands, lambda band: _is_columns(band, sure, width)):
        if is_columns:
            found += [part for band in _united(group, width) for column in _columns(band) for part in _cut(column)]
        else:
            every = (piece for band in group for piece in band.pieces)
            found.append(sorted(every, key=lambda piece: piece.number))
    return found


def _rows(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """Group pieces on the same baseline into rows, from top to bottom."""
    rows: list[list[_Piece]] = []
    for piece in sorted(pieces, key=lambda piece: -piece.line.baseline):
        if rows and rows[-1][0].line.baseline - piece.line.baseline < _SAME_ROW * piece.line.size:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return rows


def _drops(rows: Sequence[list[_Piece]]) -> list[float]:
    return [above[0].line.baseline - below[0].line.baseline for above, below in pairwise(rows)]


def _bands(rows: Sequence[list[_Piece]], width: float) -> list[_Band]:
    """Divide rows into bands where no gutter continues into the next row, and at vertical gaps across columns."""
    bands: list[_Band] = []
    drops = _drops(rows)
    apart = _APART * median(drops) if drops else inf
    for row, drop in zip(rows, [0.0, *drops], strict=True):
        free = _shared(bands[-1].free, row, width / 2) if bands else []
        divided = _is_divided(row, width)
        goes_on = drop <= apart or (not divided and len(free) == len(bands[-1].free))
        if bands and not bands[-1].gutters and not divided:
            bands[-1].free = [free[0], free[-1]]
        elif len(free) > 2 and bands[-1].gutters and goes_on:
            bands[-1].free = free
        else:
            bands.append(_Band([], _shared([(-inf, inf)], row, width)))
        bands[-1].rows.append(row)
    for before, band in pairwise(bands):
        _move_neighbours(before, band, width)
    return [band for band in bands if band.rows]


def _move_neighbours(before: _Band, band: _Band, width: float) -> None:
    """Move rows between adjacent bands: the head of a column that starts above the others, and a tail below them."""
    if band.gutters and not before.gutters:
        while before.rows and len(_shared(band.gutters, before.rows[-1], width)) == len(band.gutters):
            band.rows.insert(0, before.rows.pop())
    if before.gutters and not band.gutters:
        last = max(at for at, row in enumerate(before.rows) if _is_divided(row, width))
        drops = _drops(before.rows)
        apart = [at for at in range(last, len(drops)) if drops[at] > _APART * median(drops)]
        if apart:
            before.rows, band.rows = before.rows[: apart[0] + 1], before.rows[apart[0] + 1 :] + band.rows


def _free(row: Sequence[_Piece]) -> list[Span]:
    """Return the horizontal intervals that a row leaves free, from minus to plus infinity."""
    free: list[Span] = []
    end = -inf
    for low, high in sorted(piece.span for piece in row):
        if low > end:
            free.append((end, low))
        end = max(end, high)
    return [*free, (end, inf)]


def _shared(gutters: Sequence[Span], row: Sequence[_Piece], width: float) -> list[Span]:
    both = ((max(a, c), min(b, d)) for a, b in gutters for c, d in _free(row))
    return [(low, high) for low, high in both if high - low >= width]


def _is_divided(row: Sequence[_Piece], width: float) -> bool:
    return any(high - low >= width for low, high in _free(row)[1:-1])


def _columns(band: _Band) -> list[list[_Piece]]:
    """Return the columns in reading order: right to left if the script runs from the right."""
    columns: list[list[_Piece]] = [[] for _ in range(len(band.gutters) + 1)]
    for piece in band.pieces:
        columns[sum(sum(gutter) < sum(piece.span) for gutter in band.gutters)].append(piece)
    from_right = sum(piece.line.left > piece.line.right for piece in band.pieces)
    return columns[::-1] if 2 * from_right > len(band.pieces) else columns


def _extent(pieces: Sequence[_Piece]) -> float:
    return max((piece.span[1] for piece in pieces), default=0) - min((piece.span[0] for piece in pieces), default=0)


def _covered(row: Sequence[_Piece]) -> float:
    """Return the width of a row without its gaps."""
    return _extent(row) - sum(high - low for low, high in _free(row)[1:-1])


def _is_prose(band: _Band, size: float) -> bool:
    """Return whether running text fills each column."""
    columns = _columns(band)
    if len(columns) < 2 or not all(columns):
        return False
    for column in columns:
        if median(map(_covered, _rows(column))) < max(_NARROWEST * size, _FILLED * _extent(column)):
            return False
    starts = [piece.line.text[0] for piece in band.pieces if piece.line.text[0].upper() != piece.line.text[0].lower()]
    return sum(map(str.islower, starts)) >= _MIDSENTENCE * len(starts)


def _is_columns(band: _Band, sure: Sequence[_Band], width: float) -> bool:
    """Return whether a band has columns: it is certain itself, or shares gutters with a certain one and is no table."""
    if any(band is other for other in sure):
        return True
    aligned = [other for other in sure if _aligned(band.gutters, other.gutters, width)]
    return bool(aligned) and all(_columns(band)) and not all(_tabular(band, aligned[0]))


def _united(bands: Iterable[_Band], width: float) -> list[_Band]:
    """Merge adjacent bands with the same columns, separated only by vertical space."""
    found: list[_Band] = []
    for band in bands:
        if found and _aligned(found[-1].gutters, band.gutters, width):
            rows = [*found[-1].rows, *band.rows]
            free = found[-1].free
            for row in band.rows:
                free = _shared(free, row, 0)
            found[-1] = _Band(rows, free)
        else:
            found.append(band)
    return found


def _aligned(gutters: Sequence[Span], others: Sequence[Span], width: float) -> bool:
    pairs = zip(gutters, others, strict=False)
    return len(gutters) == len(others) and all(min(b, d) - max(a, c) >= width for (a, b), (c, d) in pairs)


def _without_tables(band: _Band) -> list[_Band]:
    """Cut a band above and below table rows that span its columns."""
    if not band.gutters or not all(_columns(band)):
        return [band]
    tabular = _tabular(band, band)
    drops = _drops(band.rows)
    apart = _APART * median(drops) if drops else inf
    pairs = [a and b and drop <= apart for a, b, drop in zip(tabular, tabular[1:], drops, strict=False)]
    table = [above or below for above, below in zip([False, *pairs], [*pairs, False], strict=True)]
    for at in (0, -1):  # a single table row may leave the gutters free by chance
        table[at] = table[at] or (tabular[at] and len(band.rows[at]) > len(band.gutters) + 1)
    parts = groupby(zip(band.rows, table, strict=True), lambda pair: pair[1])
    return [_Band([row for row, _ in part], band.free) for _, part in parts]


def _tabular(band: _Band, text: _Band) -> list[bool]:
    """Return which rows have pieces in several columns that are all shorter than a line of `text`."""
    limits = [_CELL * _extent(column) for column in _columns(text)]
    parts = (_columns(_Band([row], band.free)) for row in band.rows)
    short = [all(_covered(part) < most for part, most in zip(row, limits, strict=True)) for row in parts]
    return [each and len(row) > 1 for each, row in zip(short, band.rows, strict=True)]


def _rejoined(group: Sequence[_Piece], lines: Sequence[Line]) -> list[Line]:
    """Return the lines of a group of pieces, with pieces of the same line rejoined."""
    found = []
    for number, pieces in groupby(group, lambda piece: piece.number):
        parts = [piece.line for piece in pieces]
        if len(parts) == max(1, len(lines[number].pieces)):
            found.append(lines[number])
            continue
        if parts[0].left > parts[0].right:
            parts.reverse()
        found.append(replace(parts[0], text=" ".join(part.text for part in parts), right=parts[-1].right))
    return found
