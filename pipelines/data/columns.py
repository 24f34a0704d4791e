"""Reading order of a page's lines: a recursive XY-cut (Nagy and Seth 1984) whose vertical cuts are columns of prose.

Rows of lines that leave the same gutter free make a band. A band whose columns are filled with running text is read
column by column, each of them cut again; all else (a title, a table, a caption across) keeps the order of the file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from math import inf
from statistics import median

from pipelines.data.pdf_lines import GUTTER, Line

_ROWS = 3  # that two columns must share, unless another band of the page has the same gutter
_NARROWEST = 8.0  # font sizes; a column's usual line is wider, most cells of tables are narrower
_FILLED = 0.7  # of the column's width: the usual line of running text
_CELL = 0.6  # of the column's width: rows whose pieces are all shorter are a table
_MIDSENTENCE = 0.2  # of the lines begin with a small letter, where the script has them
_APART = 1.8  # of the usual distance of two rows: what follows belongs to what stands below the columns
_SAME_ROW = 0.6  # font sizes between the baselines of two lines side by side

Span = tuple[float, float]


@dataclass(frozen=True)
class _Piece:
    """A part of a line (all of it, where nothing divides it), with the line's number in the file."""

    line: Line
    number: int

    @property
    def span(self) -> Span:
        return self.line.span


@dataclass
class _Band:
    """Rows from top to bottom, and the gaps that all of them leave free."""

    rows: list[list[_Piece]]
    gutters: list[Span] = field(default_factory=list)

    @property
    def pieces(self) -> list[_Piece]:
        return [piece for row in self.rows for piece in row]


def regions(lines: Sequence[Line]) -> list[list[Line]]:
    """Return the lines of a page in reading order, those of each column (and of what is between columns) together."""
    pieces = [_Piece(piece, number) for number, line in enumerate(lines) for piece in line.pieces or (line,)]
    return [_rejoined(group, lines) for group in _cut(pieces)] if pieces else []


def _cut(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    rows = _rows(pieces)
    size = median(piece.line.size for piece in pieces)
    bands = [part for band in _bands(rows, GUTTER * size) for part in _without_tables(band)]
    sure = [band for band in bands if _is_prose(band, size) and sum(map(_is_divided, band.rows)) >= _ROWS]
    found: list[list[_Piece]] = []
    for is_columns, group in groupby(bands, lambda band: _is_columns(band, sure, size)):
        if is_columns:
            found += [part for band in group for column in _columns(band) for part in _cut(column)]
        else:
            every = (piece for band in group for piece in band.pieces)
            found.append(sorted(every, key=lambda piece: piece.number))
    return found


def _rows(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """Group what stands side by side, from top to bottom."""
    rows: list[list[_Piece]] = []
    for piece in sorted(pieces, key=lambda piece: -piece.line.baseline):
        if rows and rows[-1][0].line.baseline - piece.line.baseline < _SAME_ROW * piece.line.size:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return rows


def _bands(rows: Iterable[list[_Piece]], width: float) -> list[_Band]:
    """Divide rows where no gap of that `width` goes on through the next row."""
    bands: list[_Band] = []
    for row in rows:
        shared = _shared(bands[-1].gutters, row, width) if bands else []
        gaps = [(low, high) for low, high in _free(row)[1:-1] if high - low >= width]
        if shared:
            bands[-1].gutters = shared
        elif not bands or gaps or bands[-1].gutters:
            bands.append(_Band([], gaps))
        bands[-1].rows.append(row)
    for before, band in pairwise(bands):
        _move_neighbours(before, band, width)
    return [band for band in bands if band.rows]


def _move_neighbours(before: _Band, band: _Band, width: float) -> None:
    """Move rows between neighbouring bands: the head of a column that begins above the others, a tail below them."""
    if band.gutters and not before.gutters:
        while before.rows and len(_shared(band.gutters, before.rows[-1], width)) == len(band.gutters):
            band.rows.insert(0, before.rows.pop())
    if before.gutters and not band.gutters:
        last = max(at for at, row in enumerate(before.rows) if _is_divided(row))
        drops = [a[0].line.baseline - b[0].line.baseline for a, b in pairwise(before.rows)]
        apart = [at for at in range(last, len(drops)) if drops[at] > _APART * median(drops)]
        if apart:
            before.rows, band.rows = before.rows[: apart[0] + 1], before.rows[apart[0] + 1 :] + band.rows


def _free(row: Sequence[_Piece]) -> list[Span]:
    """Return the intervals that a row leaves free, from minus to plus infinity."""
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


def _is_divided(row: Sequence[_Piece]) -> bool:
    return len(_free(row)) > 2


def _columns(band: _Band) -> list[list[_Piece]]:
    """Return the columns in reading order: from the right where the script runs from the right."""
    columns: list[list[_Piece]] = [[] for _ in range(len(band.gutters) + 1)]
    for piece in band.pieces:
        columns[_column(piece, band)].append(piece)
    return columns[::-1] if _from_right(band) else columns


def _from_right(band: _Band) -> bool:
    return 2 * sum(piece.line.left > piece.line.right for piece in band.pieces) > len(band.pieces)


def _column(piece: _Piece, band: _Band) -> int:
    return sum(sum(gutter) < sum(piece.span) for gutter in band.gutters)


def _widths(pieces: Iterable[_Piece]) -> tuple[float, list[float]]:
    """Return the width of a column, and of each of its rows."""
    spans = [(min(p.span[0] for p in row), max(p.span[1] for p in row)) for row in _rows(list(pieces))]
    return max(high for _, high in spans) - min(low for low, _ in spans), [high - low for low, high in spans]


def _is_prose(band: _Band, size: float) -> bool:
    """Return whether running text fills each column."""
    columns = _columns(band)
    if len(columns) < 2 or not all(columns):
        return False
    for width, rows in map(_widths, columns):
        if median(rows) < max(_NARROWEST * size, _FILLED * width):
            return False
    starts = [piece.line.text[0] for piece in band.pieces if piece.line.text[0].upper() != piece.line.text[0].lower()]
    return sum(map(str.islower, starts)) >= _MIDSENTENCE * len(starts)


def _is_columns(band: _Band, sure: Sequence[_Band], size: float) -> bool:
    """Return whether a band is columns: by itself, or because a sure one has its gutters and it is no table."""
    if any(band is other for other in sure):
        return True
    aligned = any(_aligned(band.gutters, other.gutters, GUTTER * size) for other in sure)
    return aligned and all(_columns(band)) and not all(_tabular(band))


def _aligned(gutters: Sequence[Span], others: Sequence[Span], width: float) -> bool:
    pairs = zip(gutters, others, strict=False)
    return len(gutters) == len(others) and all(min(b, d) - max(a, c) >= width for (a, b), (c, d) in pairs)


def _without_tables(band: _Band) -> list[_Band]:
    """Cut a band above and below rows of a table across its columns."""
    if not band.gutters or not all(_columns(band)):
        return [band]
    tabular = _tabular(band)
    around = zip([False, *tabular], tabular, [*tabular[1:], False], strict=False)
    table = [here and (above or below) for above, here, below in around]
    parts = groupby(zip(band.rows, table, strict=True), lambda pair: pair[1])
    return [_Band([row for row, _ in part], band.gutters) for _, part in parts]


def _tabular(band: _Band) -> list[bool]:
    """Return which rows have something in each column, and nowhere a line of text."""
    limits = [_CELL * _widths(column)[0] for column in _columns(band)]
    if _from_right(band):
        limits.reverse()
    longest = [[0.0] * len(limits) for _ in band.rows]
    for row, lengths in zip(band.rows, longest, strict=True):
        for piece in row:
            low, high = piece.span
            lengths[_column(piece, band)] = max(lengths[_column(piece, band)], high - low)
    return [all(0 < length < most for length, most in zip(row, limits, strict=True)) for row in longest]


def _rejoined(group: Sequence[_Piece], lines: Sequence[Line]) -> list[Line]:
    """Return the lines of pieces, those of one line put together again."""
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
