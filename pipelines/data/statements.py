"""The sentences of a document, and which of them are statements: questions and keyword queries ask for what they state.

Headings, questions, header rows of tables, fenced code and lines without a word state nothing. A heading is a line
without final punctuation that is neither a list item nor a table row; unlike a numbered list item, a numbered heading
is next to unnumbered text. The exact headings of a document are unknown: plain text has none, and the sections of a
long document lose theirs.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from pipelines.data.fences import is_code
from pipelines.text.layout import CELL_SEPARATOR, LIST_MARKER, headers
from pipelines.text.sentences import CLOSING_MARKS, sentences

_LEADERS = re.compile(r"\.{5,}$")  # dots to the page number of a table of contents


@dataclass(frozen=True)
class Sentence:
    """A sentence and its place in its document, without the marker of a list item."""

    text: str
    start: int
    end: int
    is_statement: bool = True
    header: str = ""
    """The header of the table whose row it is."""


def document_sentences(text: str) -> Iterator[Sentence]:
    """Yield the sentences of a document in order."""
    lines = text.split("\n")
    line_ends = list(accumulate(len(line) + 1 for line in lines))
    code, items, header_of = is_code(lines), _items(lines), headers(text)
    for start, end in sentences(text):
        line = bisect_right(line_ends, start)
        begins_line = start == line_ends[line] - len(lines[line]) - 1
        marker = LIST_MARKER.match(text, start, end) if begins_line and not code[line] else None
        first = marker.end() if marker else start
        is_row = CELL_SEPARATOR in text[first:end]
        is_header = is_row and begins_line and start not in header_of and not text[first:end].endswith((".", "!", "。"))
        is_statement = not (code[line] or is_header) and _states(text[first:end], is_row or line in items)
        yield Sentence(text[first:end], first, end, is_statement, header_of.get(start, ""))


def _items(lines: Sequence[str]) -> set[int]:
    """Return the numbers of the lines that are list items."""
    filled = [number for number, line in enumerate(lines) if line.strip()]
    markers = {number: marker for number in filled if (marker := LIST_MARKER.match(lines[number]))}
    bulleted = {number for number, marker in markers.items() if marker["bullet"]}
    return bulleted | {number for pair in pairwise(filled) if markers.keys() >= set(pair) for number in pair}


def _states(sentence: str, is_item_or_row: bool) -> bool:
    """Return whether a sentence outside code is a statement."""
    ending = sentence.rstrip().rstrip(CLOSING_MARKS)[-1:]
    has_words = any(map(str.isalnum, sentence)) and not _LEADERS.search(sentence)
    return has_words and ending not in ("", *"?？؟") and (is_item_or_row or not sentence[-1].isalnum())
