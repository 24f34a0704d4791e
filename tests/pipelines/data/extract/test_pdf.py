"""PDF reader: reading order of pages with one to three columns, and unreadable pages."""

import itertools
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.documents import Document
from pipelines.data.extract.pdf import pdf
from pipelines.data.extract.readers import Limits, Reject, extract
from tests.support.pdf_files import Placed, pdf_file

SIZE = 9
CHARACTER = 0.6 * SIZE  # Courier
PITCH = 11
LEFT, TOP, WIDTH = 40, 790, 95  # the width in characters


def prose(words: Iterator[str], lines: int, width: int, lengths: Iterator[int]) -> list[str]:
    """Return the lines of paragraphs of sentences."""
    found: list[str] = []
    while len(found) < lines:
        sentence = [next(words) for _ in range(next(lengths))]
        found += textwrap.wrap(" ".join([sentence[0].capitalize(), *sentence[1:]]) + ".", width)
    return found[:lines]


class Page:
    """A page drawn band by band from the top."""

    def __init__(self) -> None:
        """Create an empty page."""
        self.y, self.lines, self.text = float(TOP), list[Placed](), list[str]()

    def columns(self, columns: list[list[str]], starts: list[int], shift: float, by_row: bool) -> None:
        """Draw columns that start at the given characters, each slightly lower than the previous one."""
        drawn: list[tuple[int, Placed]] = []
        for number, (column, start) in enumerate(zip(columns, starts, strict=True)):
            self.text += column
            for row, text in enumerate(column):
                place = (LEFT + start * CHARACTER, self.y - row * PITCH - number * shift, text)
                drawn.append((row if by_row else number, place))
        self.lines += [line for _, line in sorted(drawn, key=lambda pair: pair[0])]
        self.y -= (max(map(len, columns)) + 1) * PITCH + (len(columns) - 1) * shift

    def rows(self, rows: list[list[str]], starts: list[int]) -> None:
        """Draw a table, or lines across the page."""
        for row in rows:
            self.text += row
            self.lines += [(LEFT + at * CHARACTER, self.y, cell) for cell, at in zip(row, starts, strict=True)]
            self.y -= PITCH
        self.y -= PITCH


@given(st.data())
def test_columns_are_read_in_order_and_tables_row_by_row(data: st.DataObject) -> None:
    def number(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    words = (f"{'abcdefghij'[n % 10] * (2 + n * 7 % 6)}{n}" for n in itertools.count())
    lengths = iter(lambda: number(8, 40), None)
    count, page = number(1, 3), Page()
    gap = number(2, 4)
    width = (WIDTH - gap * (count - 1)) // count
    starts = [at * (width + gap) for at in range(count)]
    shift, by_row = number(0, 10), data.draw(st.booleans())
    if number(0, 1):
        title = " ".join(itertools.islice(words, 6))
        page.rows([[title]], [(WIDTH - len(title)) // 2])
    for _ in range(number(1, 2)):
        rows = number(5, 14)
        lines = [prose(words, rows if at < count - 1 else number(3, rows), width, lengths) for at in range(count)]
        page.columns(lines, starts, shift, by_row)
        if number(0, 1):
            cells = number(2, 4)
            table = [list(itertools.islice(words, cells)) for _ in range(number(2, 5))]
            page.rows(table, [at * WIDTH // cells for at in range(cells)])
        else:
            page.rows([[line] for line in prose(words, 2, WIDTH, lengths)], [0])
    text = pdf.read(pdf_file([page.lines], b"Courier", SIZE)).text
    assert text.split() == " ".join(page.text).split()


def test_word_hyphenated_across_columns_is_joined() -> None:
    left = ["The trust that owns the green-", "house opens it on Sundays and the", "keeper of the boiler, an old gar-"]
    right = ["dener, shows the rarest ferns and", "the pond behind the second door", "of the greenhouse until dusk."]
    lines = [(x, 700 - 14 * row, text) for row in range(3) for x, text in ((60, left[row]), (330, right[row]))]
    assert pdf.read(pdf_file([lines])).text == (
        "The trust that owns the greenhouse opens it on Sundays and the keeper of the boiler, an old gardener, "
        "shows the rarest ferns and the pond behind the second door of the greenhouse until dusk."
    )


def test_unreadable_page_is_rejected_and_others_are_read(tmp_path: Path) -> None:
    first, last = ([(72.0, 700.0, text)] for text in ("The key hangs outside.", "The second door is shut."))
    (tmp_path / "a.pdf").write_bytes(pdf_file([first, None, last], info=b"<< /Title <FEFF0046D83D0046> >>"))
    document, reject = extract(tmp_path / "a.pdf", tmp_path, Limits(10**6, 10))
    assert isinstance(document, Document) and isinstance(reject, Reject)
    assert document.text.split() == ["The", "key", "hangs", "outside.", "The", "second", "door", "is", "shut."]
    assert document.title == "F\ufffdF"
    assert (reject.source, reject.part) == ("a.pdf#page 2", True)


@pytest.mark.parametrize("page", [None, []])
def test_file_without_readable_pages_is_one_reject(tmp_path: Path, page: list[Placed] | None) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf_file([page]))
    (reject,) = extract(tmp_path / "a.pdf", tmp_path, Limits(10**6, 10))
    assert isinstance(reject, Reject) and not reject.part
