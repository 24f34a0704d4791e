"""Lists and tables in plain text, as the readers write them: `- item`, `1. item`, and rows of cells between ` | `."""

import re

CELL_SEPARATOR = " | "
LIST_MARKER = re.compile(
    r"[ \t]*(?:(?P<bullet>[-*+•‣◦·–—])|\(?(?:\d{1,3}(?:\.\d{1,3})*|[ivx]{1,5})[.)]|\(?[a-zA-Z]\))[ \t]+"
)
_ROW = re.compile(r"\S \| \S")
_DIGIT = re.compile(r"\d")


def headers(text: str) -> dict[int, str]:
    """Return the header of each table row, by the row's offset; a header row has none, and an empty one is unknown.

    The first of consecutive rows is the header, unless it contains a number.
    """
    header_of: dict[int, str] = {}
    header, end = "", -2
    for line in re.finditer(r"[^\n]+", text):
        if _ROW.search(line.group()):
            is_first = line.start() != end + 1
            if is_first:
                header = "" if _DIGIT.search(line.group()) else line.group()
            if not (is_first and header):
                header_of[line.start()] = header
            end = line.end()
    return header_of


def cells(row: str) -> list[str]:
    """Return the cells of a table row; text that is no row is one cell."""
    return [cell.strip() for cell in row.split(CELL_SEPARATOR)]
