"""Date parsing to ISO 8601 at the known precision: 2021-03-04, 2021-03 or 2021. Ambiguous dates are rejected."""

import re
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_COMPACT = re.compile(r"(?:D:)?(\d{4})(\d\d)(\d\d)(?=(?:\d\d){0,3}(?!\d))")
_PARTED = re.compile(r"(\d{4})\s*[-/.年](?:\s*(\d{1,2})(?!\d)(?:\s*[-/.月]\s*(\d{1,2})(?!\d))?)?")
_YEAR = re.compile(r"(?:D:)?(\d{4})")
_NUMBER = re.compile(r"[1-9][0-9]*(?:\.[0-9]*)?")
_NAMED = ("%d %B %Y", "%B %d, %Y", "%d %b %Y", "%b %d, %Y", "%B %Y", "%d. %B %Y")
_FIRST, _LAST = 1000, 2100
_DIGITS = {8: "%Y%m%d", 14: "%Y%m%d%H%M%S"}
_AMBIGUOUS = {10: "%Y%m%d%H", 12: "%Y%m%d%H%M"}
"""Digit counts of timestamps that could also be epoch seconds or milliseconds."""
_TICKS = (1.0, 1e3, 1e6, 1e9)
_EPOCH = (1e8, 4.1e9)
"""Epoch range in seconds: March 1973 (earlier values look like yyyymmdd) to 2099; the units' ranges are disjoint."""


def parsed(value: Any) -> str | None:
    """Return a date, text or number as an ISO 8601 date, or None if it is not a date.

    A number, or text of digits only, is a year, a day (yyyymmdd), a time (yyyymmddhhmmss), or an epoch in seconds,
    milliseconds, microseconds or nanoseconds between 1973 and 2099.
    """
    if isinstance(value, date):
        return value.strftime("%Y-%m-%d") if _FIRST <= value.year <= _LAST else None
    if isinstance(value, str):
        return _of_text(value.strip())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_number(value)
    return None


def _of_number(value: float) -> str | None:
    if not _FIRST <= value < _EPOCH[1] * _TICKS[-1]:
        return None
    digits = str(int(value))
    if value == int(value) and len(digits) == 4:
        return _iso(int(digits), None, None)
    if value == int(value) and len(digits) in _DIGITS:
        return parsed(_stamp(digits, _DIGITS[len(digits)]))
    stamp = _stamp(digits, _AMBIGUOUS.get(len(digits), ""))
    if stamp is not None and 1900 <= stamp.year <= _LAST:
        return None
    seconds = next((value / ticks for ticks in _TICKS if _EPOCH[0] <= value / ticks < _EPOCH[1]), None)
    return None if seconds is None else parsed(datetime.fromtimestamp(seconds, UTC))


def _stamp(digits: str, form: str) -> datetime | None:
    """Return the time written in digits, or None if it does not match `form`."""
    try:
        return datetime.strptime(digits, form)
    except ValueError:
        return None


def _of_text(text: str) -> str | None:
    if _NUMBER.fullmatch(text) and not _PARTED.match(text):
        return _of_number(float(text))
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
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _iso(year: int | None, month: int | None, day: int | None) -> str | None:
    if year is None or not _FIRST <= year <= _LAST:
        return None
    try:
        date(year, month or 1, day or 1)
    except ValueError:
        return None
    return "-".join([f"{year}", *(f"{part:02}" for part in (month, day) if part)])
