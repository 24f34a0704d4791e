"""Fenced code blocks in plain text (CommonMark 0.31, 4.5), which no cleaning rule may edit."""

import re
from collections.abc import Callable, Sequence
from itertools import groupby

_FENCE = re.compile(r"\s*(`{3,}|~{3,})([^`]*)\Z")
_UNDERLINE = re.compile(r"~+")


def fenced(code: str) -> str:
    """Return code between fences that are longer than any fence inside it."""
    longest = max(map(len, re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{code}\n{fence}"


def is_code(lines: Sequence[str]) -> list[bool]:
    """Return which lines belong to a fenced code block; an unclosed fence opens none."""
    code = [False] * len(lines)
    opening: tuple[int, str] | None = None
    for number, line in enumerate(lines):
        fence = _FENCE.match(line) if "```" in line or "~~~" in line else None
        if fence is None:
            continue
        if opening is None:
            if not _underlines(line, lines[number - 1] if number else ""):
                opening = number, fence[1]
        elif fence[1].startswith(opening[1]) and not fence[2].strip():
            code[opening[0] : number + 1] = [True] * (number + 1 - opening[0])
            opening = None
    return code


def _underlines(line: str, above: str) -> bool:
    """Return whether a line underlines the heading above it (reStructuredText), which is no longer than the line."""
    return _UNDERLINE.fullmatch(line) is not None and 3 < len(above.rstrip()) <= len(line)


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Apply `change` to the parts of a text that are not code."""
    lines = text.split("\n")
    parts = groupby(zip(is_code(lines), lines, strict=True), lambda pair: pair[0])
    joined = ((code, "\n".join(line for _, line in group)) for code, group in parts)
    return "\n".join(part if code else change(part) for code, part in joined)


def without_empty_lines(text: str) -> str:
    """Collapse consecutive empty lines into one, except in code."""
    if "\n\n\n" not in text:
        return text
    lines = text.split("\n")
    kept = zip(["\n", *lines], lines, is_code(lines), strict=False)
    return "\n".join(line for before, line, code in kept if code or line or before)
