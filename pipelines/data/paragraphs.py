"""Line unwrapping: rebuild paragraphs from hard-wrapped lines.

A line was wrapped at the margin if the next line's first word would not have fitted on it; otherwise the author ended
it. For plain text the margin is measured in characters here; for a PDF it is measured in points.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby, pairwise

from pipelines.text.words import UNSPACED

LONGEST_WRAPPED = 120  # terminal cells; a file with longer lines has one paragraph per line
NARROWEST_WRAPPED = 40  # terminal cells; shorter lines are verse or a list
_VERSE_SHARE = 0.9  # share of lines that begin with a capital; one in three does in German prose
_MIN_VERSES = 3
_WRAPPED_SHARE = 0.5  # share of the line breaks of a block that the margin must explain before any line is joined
_EVEN_SHARE = 0.95  # share of the margin that evenly filled lines reach
ITEM = re.compile(r"\s*(?:[-*+•‣◦·–—]|\(?(?:\d{1,3}|[a-zA-Z])[.)])\s")
_TABLE = re.compile(r"\S(?: {3,}|\t)\S|\|")
_HYPHENS = ("-", "\u2010", "\u00ad")
_HYPHENATED = re.compile(rf"(\w+)[{''.join(_HYPHENS)}]$")
_BREAK = re.compile("\r\n|[\r\v\f\x1c-\x1e\u2028]")
_C1 = re.compile("[\x80-\x84\x86-\x9f]")
_NEXT_LINE = re.compile("(?<![ÃÄÅ])\x85")  # after these letters U+0085 is half of Å, ą or Ņ (UTF-8 read as Latin-1)
_FIRST_WORD = re.compile(r"\w+")
_NO_SPACE = re.compile(f"{UNSPACED}|[\u3000-\u303f\uff00-\uff65]")


def line_feeds(text: str) -> str:
    """Replace every Unicode line break (as in `str.splitlines`) by a line feed, and U+2029 by an empty line.

    In a text with other C1 controls, U+0085 is the ellipsis of Windows-1252 decoded as Latin-1, not a line break.
    """
    text = _BREAK.sub("\n", text).replace("\u2029", "\n\n")
    return _NEXT_LINE.sub("\n", text) if "\x85" in text and not _C1.search(text) else text


def joined(lines: Sequence[str], vocabulary: set[str]) -> str:
    """Join the lines of one paragraph; words hyphenated at a line's end are rejoined as `vocabulary` spells them."""
    parts = [lines[0].strip()]
    for line in map(str.strip, lines[1:]):
        parts[-1], separator = _seam(parts[-1], line, vocabulary)
        parts += [separator, line]
    return "".join(parts)


def vocabulary(text: str) -> set[str]:
    """Return the lower-case words of `text`; compounds keep their hyphens."""
    return set(re.findall(r"\w+(?:-\w+)*", text.lower()))


def unwrap(text: str) -> tuple[str, int]:
    """Join the wrapped lines of a plain text; return the text and the number of line breaks removed.

    Verse is kept: lines shorter than any margin, or nearly all starting with a capital. Each block between empty lines
    is decided on its own, since a letter has an address and a manual has commands beside wrapped prose.
    """
    lines = text.split("\n")
    margin = _margin(lines)
    if not NARROWEST_WRAPPED <= margin <= LONGEST_WRAPPED or sum(map(_begins_verse, lines)) > max(
        _MIN_VERSES, _VERSE_SHARE * sum(map(bool, map(str.strip, lines)))
    ):
        return text, 0
    known = vocabulary(text)
    paragraphs: list[list[str]] = []
    for is_empty, group in groupby(lines, lambda line: not line.strip()):
        block = list(group)
        paragraphs += [[line] for line in block] if is_empty else _paragraphs(block, margin)
    return "\n".join(joined(paragraph, known) for paragraph in paragraphs), len(lines) - len(paragraphs)


def _paragraphs(block: Sequence[str], margin: int) -> list[list[str]]:
    """Divide a block into paragraphs of one or more lines."""
    paragraphs = [[block[0]]]
    wrapped = _is_wrapped(block, margin)
    for before, line in pairwise(block):
        if wrapped and _continues(before, line, margin):
            paragraphs[-1].append(line)
        else:
            paragraphs.append([line])
    return paragraphs


def _is_wrapped(block: Sequence[str], margin: int) -> bool:
    """Return whether the margin explains the line breaks of a block, except those before lines that continue nothing.

    Lines that all begin with a digit are records, such as those of a log.
    """
    pairs = [(before, line) for before, line in pairwise(block) if not _begins_line(before, line)]
    if all(line.lstrip()[0].isdigit() for line in block):
        return False
    # A program that fills lines evenly ends some a little early; a lower-case start shows that the sentence continues.
    explained = (_full(a, b, int(_EVEN_SHARE * margin) if b.lstrip()[0].islower() else margin) for a, b in pairs)
    return sum(explained) >= _WRAPPED_SHARE * len(pairs)


def _begins_verse(line: str) -> bool:
    first = line.lstrip()[:1]
    return first.isdigit() or (first.isupper() and not line.isupper())


def _seam(before: str, line: str, vocabulary: set[str]) -> tuple[str, str]:
    """Return the preceding line as it enters the paragraph, and the separator between it and `line`."""
    divided = _HYPHENATED.search(before) if before.endswith(_HYPHENS) else None
    rest = _FIRST_WORD.match(line)
    if divided and rest and rest[0][0].islower():
        compound, whole = f"{divided[1]}-{rest[0]}".lower(), f"{divided[1]}{rest[0]}".lower()
        return before[:-1], "-" if compound in vocabulary and whole not in vocabulary else ""
    unspaced = before and line and _NO_SPACE.match(before[-1]) and _NO_SPACE.match(line[0])
    return before, "" if unspaced else " "


def _margin(lines: Sequence[str]) -> int:
    """Return the width of the text in cells; one line in fifty may exceed it."""
    widths = sorted((_cells(line) for line in lines if line.strip()), reverse=True)
    return widths[len(widths) // 50] if widths else 0


def _full(line: str, after: str, margin: int) -> bool:
    """Return whether the first word of the next line would not have fitted on a line.

    A word longer than half the margin, such as a URL, fits beside no other and is therefore no evidence.
    """
    first = after.split(maxsplit=1)[0]
    word = first[0] if _NO_SPACE.match(first) else first
    return 2 * _cells(word) <= margin < _cells(line.rstrip()) + (0 if word != first else 1) + _cells(word)


def _continues(before: str, line: str, margin: int) -> bool:
    if _begins_line(before, line):
        return False
    return _full(before, line, margin) or (line.strip()[0].islower() and 2 * _cells(before) > margin)


def _begins_line(before: str, line: str) -> bool:
    """Return whether a line is a list item, a quoted line of a mail, a table row or the line after one."""
    return ITEM.match(line) is not None or line.lstrip().startswith(">") or _in_table(before) or _in_table(line)


def _in_table(line: str) -> bool:
    """Return whether a line is a table row; cheap substring tests reject nearly all lines before the regex runs."""
    return ("   " in line or "\t" in line or "|" in line) and _TABLE.search(line) is not None


def _cells(line: str) -> int:
    if line.isascii():
        return len(line)
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)
