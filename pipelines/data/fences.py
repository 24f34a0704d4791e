"""Code in plain text: what stands between fences (CommonMark 0.31, 4.5), which no edit may touch."""

import re
from collections.abc import Sequence

_FENCE = re.compile(r"\s*(`{3,}|~{3,})([^`]*)\Z")


def fenced(code: str) -> str:
    """Return code between fences longer than any in it."""
    longest = max(map(len, re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{code}\n{fence}"


def is_code(lines: Sequence[str]) -> list[bool]:
    """Return which lines are fences or stand between two; a fence that is never closed is none."""
    found = [False] * len(lines)
    opening: tuple[int, str] | None = None
    for number, line in enumerate(lines):
        fence = _FENCE.match(line) if "```" in line or "~~~" in line else None
        if fence is None:
            continue
        if opening is None:
            opening = number, fence[1]
        elif fence[1].startswith(opening[1]) and not fence[2].strip():
            found[opening[0] : number + 1] = [True] * (number + 1 - opening[0])
            opening = None
    return found


def without_empty_lines(text: str) -> str:
    """Leave one empty line where there are several, but in code."""
    if "\n\n\n" not in text:
        return text
    lines = text.split("\n")
    kept = zip(["\n", *lines], lines, is_code(lines), strict=False)
    return "\n".join(line for before, line, code in kept if code or line or before)
