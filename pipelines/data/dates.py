"""When a document was written, as far as it says so: 2021-03-04, 2021-03 or 2021."""

import re
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_COMPACT = re.compile(r"(?:D:)?(\d{4})(\d\d)(\d\d)(?!\d{1,3}\b)")
_PARTED = re.compile(r"(\d{4})\s*[-/.年](?:\s*(\d{1,2})(?:\s*[-/.月]\s*(\d{1,2}))?)?")
_YEAR = re.compile(r"(?:D:)?(\d{4})")
_NAMED = ("%d %B %Y", "%B %d, %Y", "%d %b %Y", "%b %d, %Y", "%B %Y", "%d. %B %Y")
_FIRST, _LAST = 1000, 2100
_MILLISECONDS = 1e11  # a larger number of seconds would be after the year 5000


def parsed(value: Any) -> str | None:
    """Return a date as text, a date, or a number of seconds since 1970 in ISO 8601; None for what is none."""
    if isinstance(value, date):
        return value.strftime("%Y-%m-%d") if _FIRST <= value.year <= _LAST else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        return _of_text(value.strip())
    seconds = value / 1000 if value > _MILLISECONDS else value
    try:
        return parsed(datetime.fromtimestamp(seconds, UTC)) if seconds > 0 else None
    except (OverflowError, OSError, ValueError):
        return None


def _of_text(text: str) -> str | None:
    for pattern in (_COMPACT, _PARTED):
        if found := pattern.match(text):
            return _iso(*(int(part) if part else None for part in found.groups()))
    if found := _YEAR.fullmatch(text):
        return _iso(int(found[1]), None, None)
    for form in _NAMED:
        try:
            read = datetime.strptime(text, form)
        except ValueError:
            continue
        return _iso(read.year, read.month, read.day if "%d" in form else None)
    try:
        return parsed(parsedate_to_datetime(text))
    except (TypeError, ValueError, IndexError):
        return None


def _iso(year: int | None, month: int | None, day: int | None) -> str | None:
    if year is None or not _FIRST <= year <= _LAST:
        return None
    try:
        date(year, month or 1, day or 1)
    except ValueError:
        return None
    return "-".join([f"{year}", *(f"{part:02}" for part in (month, day) if part)])
