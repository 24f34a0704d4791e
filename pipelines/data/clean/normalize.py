"""Text normalization: encoding, line breaks, emphasis markup and white space. Functions return the text and edits."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import ftfy

from pipelines.data import fences, paragraphs

# Curly quotes and full-width punctuation (standard in Chinese) are kept.
_FTFY = ftfy.TextFixerConfig(uncurl_quotes=False, fix_character_width=False, normalization="NFC", explain=False)
_FTFY_MARKUP = _FTFY._replace(unescape_html=False)
# Text that ftfy never changes: ASCII without entities and control characters, typographic punctuation, and common
# Chinese, Japanese and Korean characters. Accented letters are excluded because they may be mojibake.
_CLEAN = re.compile(
    "[\n -%'-~‘’“”–—…\u3001-\u3029\u3041-\u3096\u30a1-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uff01-\uff5e]*"
)
_UNEVEN = ("  ", " \n", "\n ", "\t")  # irregular white space in an ASCII text without control characters
# Emphasis typed with underscores; identifiers (`_cache_[a]`, `_helper(a, b_)`) do not match.
_EMPHASIS = re.compile(
    r"(?P<code>`[^`\n]+`)|(?<![\w.])_(?=[^\W_])(?P<words>(?:[^_\n()\[\]{}=<>;`]|\([^_\n()]*\)){1,200}?)(?<=\S)_(?!\w|\(|\[\D)"
)
_ABOUT_MARKUP = re.compile(r"&lt;[/!?a-z]|&amp;#?\w+;", re.IGNORECASE)  # escaped tags or entities in text about markup
# White space, joiners (needed by Persian, Indic scripts and emoji), and visible format characters: the number marks of
# Arabic, Syriac and Kaithi.
_KEPT_INVISIBLE = re.compile("[\n\t\u200c\u200d\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd]")
_FLAG = re.compile("(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]+\U000e007f)")  # England, Scotland, Wales


@dataclass(frozen=True)
class Edit:
    """Edits that one rule made in one document, with an example."""

    reason: str
    count: int
    example: str


def normalize(text: str, wrapped: bool, typed: bool) -> tuple[str, list[Edit]]:
    """Repair mojibake and white space, except in fenced code.

    If `wrapped`, hard-wrapped lines are joined into paragraphs. If `typed`, the text has no markup and underscores used
    for emphasis are removed; in other formats an underscore belongs to an identifier.
    """
    lines = text.split("\n")
    parts: list[str] = []
    counted: dict[str, Edit] = {}
    for is_code, group in groupby(zip(fences.is_code(lines), lines, strict=True), lambda pair: pair[0]):
        part, edits = "\n".join(line for _, line in group), list[Edit]()
        if not is_code:
            part, edits = _repair(part, wrapped, typed)
        parts.append(part)
        for edit in edits:
            before = counted.get(edit.reason, edit)
            counted[edit.reason] = replace(before, count=edit.count + (before.count if before is not edit else 0))
    return fences.without_empty_lines("\n".join(parts)).strip(), list(counted.values())


def _repair(text: str, wrapped: bool, typed: bool) -> tuple[str, list[Edit]]:
    edits = []
    if not _CLEAN.fullmatch(text):
        config = _FTFY_MARKUP if _ABOUT_MARKUP.search(text) else _FTFY
        text, edit = _by_line(paragraphs.line_feeds(text), "unicode", partial(_unicode, config=config))
        edits.append(edit)
    if wrapped:
        text, count = paragraphs.unwrap(text)
        edits.append(Edit("wrapped_line", count, ""))
    if typed and "_" in text:
        text, edit = _by_line(text, "emphasis", partial(_EMPHASIS.sub, _plain))
        edits.append(edit)
    if not text.isascii() or text.endswith(" ") or any(map(text.__contains__, _UNEVEN)):
        text, edit = _by_line(text, "space", _space)
        edits.append(edit)
    return text, [edit for edit in edits if edit.count]


def _plain(found: re.Match[str]) -> str:
    return found["code"] or found["words"]


def _by_line(text: str, reason: str, change: Callable[[str], str]) -> tuple[str, Edit]:
    before = text.split("\n")
    after = [change(line) for line in before]
    changed = [old for old, new in zip(before, after, strict=True) if old != new]
    return "\n".join(after), Edit(reason, len(changed), changed[0] if changed else "")


def _unicode(line: str, config: ftfy.TextFixerConfig) -> str:
    """Fix mojibake, ligatures and HTML entities (ftfy), apply NFC and drop invisible characters."""
    if _CLEAN.fullmatch(line):
        return line
    parts = _FLAG.split(ftfy.fix_text(line, config))
    parts[::2] = (part.translate(_VISIBLE) for part in parts[::2])
    return "".join(parts)


class _Visible(dict[int, int | None]):
    """Lazily filled translation table that removes invisible characters."""

    def __missing__(self, point: int) -> int | None:
        invisible = unicodedata.category(chr(point)) in ("Cc", "Cf", "Cs", "Co", "Cn")
        self[point] = None if invisible and not _KEPT_INVISIBLE.match(chr(point)) else point
        return self[point]


_VISIBLE = _Visible()


def _space(line: str) -> str:
    """Collapse white space between words to one space; keep the indentation that code needs."""
    stripped = line.lstrip()
    indentation = line[: len(line) - len(stripped)].replace("\t", "    ") if stripped else ""
    return indentation.replace("\xa0", " ") + " ".join(stripped.split())
