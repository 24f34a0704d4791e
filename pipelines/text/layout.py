"""Lists and tables in plain text, as the readers write them: `- item`, `1. item`, and rows of cells between ` | `.

An empty cell is written as a dash, so that the cells after it stay in their columns.
"""

import re
from collections.abc import Iterator, Sequence

from pipelines.text.sentences import GERMAN_MONTH

CELL_SEPARATOR = " | "
EMPTY_CELL = "–"
LIST_MARKER = re.compile(
    r"[ \t]*(?:(?P<bullet>[-*+•‣◦·–—](?![ \t]+\|))"
    rf"|\(?(?:\d{{1,3}}(?:\.\d{{1,3}})*|[ivx]{{1,5}})[.)](?!\s{GERMAN_MONTH}\b)"
    r"|\(?[a-zA-Z]\))[ \t]+"
)
_ROW = re.compile(r"\S \| \S")
_SEPARATOR = re.compile(r"(?:^|(?<=\s))\|(?=\s|$)")
_DIGIT = re.compile(r"\d")


def headers(text: str) -> dict[int, str]:
    """Return the header of each table row, by the row's offset; a header row has none, and an empty one is unknown.

    The first of consecutive rows is the header, unless it contains a number. Two columns have one only if the second
    contains a number in every other row, because most of them are names with values, without a header.
    """
    header_of: dict[int, str] = {}
    for rows in _tables(text):
        first = rows[0].group()
        is_header = not _DIGIT.search(first) and (
            len(cells(first)) > 2 or all(_DIGIT.search(cells(row.group())[-1]) for row in rows[1:])
        )
        header_of |= {row.start(): first if is_header else "" for row in rows[is_header:]}
    return header_of


def _tables(text: str) -> Iterator[list[re.Match[str]]]:
    """Yield the consecutive rows of each table."""
    rows: list[re.Match[str]] = []
    for line in re.finditer(r"[^\n]+", text):
        if not _ROW.search(line.group()):
            continue
        if rows and line.start() != rows[-1].end() + 1:
            yield rows
            rows = []
        rows.append(line)
    if rows:
        yield rows


def cells(row: str) -> list[str]:
    """Return the cells of a table row; text that is no row is one cell."""
    return [cell.strip() for cell in _SEPARATOR.split(row)]


def row(cells: Sequence[str]) -> str:
    """Return cells as a row: empty ones as `EMPTY_CELL`, except at the end; a single filled cell is plain text."""
    filled = [at for at, cell in enumerate(cells) if cell]
    if len(filled) < 2:
        return "".join(cells)
    return CELL_SEPARATOR.join(cell or EMPTY_CELL for cell in cells[: filled[-1] + 1])
