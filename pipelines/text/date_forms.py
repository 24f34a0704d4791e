"""Normalization of dates to day and month, and of times to a 12-hour clock: `the 3rd of May`, `May 3`, `1987-05-03`.

Numeric dates (3/5/1987) are left unchanged: the order of day and month is ambiguous.
"""

import re
from calendar import month_name

MONTHS = [name.casefold() for name in month_name[1:]]
_BY_START = {name[:3]: name for name in MONTHS}
_MONTH = rf"((?:{'|'.join(MONTHS)})\b|(?:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\b\.?)"
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?\b"
_ISO = re.compile(r"\b(\d{4})-(0[1-9]|1[0-2])-([0-3]\d)\b", re.ASCII)
_DAY_MONTH = re.compile(rf"\b{_DAY}(?:\s+(?:day\s+)?of)?\s+{_MONTH}", re.ASCII | re.IGNORECASE)
_MONTH_DAY = re.compile(rf"\b{_MONTH}\s+(?:the\s+)?{_DAY}(?![.:]\d)", re.ASCII | re.IGNORECASE)
_MONTH_YEAR = re.compile(rf"\b{_MONTH}(?=,?\s+\d{{4}}\b)", re.ASCII | re.IGNORECASE)
_NOON = re.compile(r"\b(?:12\s+)?(?:(noon|midday)|midnight)\b", re.ASCII | re.IGNORECASE)
_HALF_DAY = re.compile(r"(?<![\d.:])(\d{1,2})(?:[:.](\d\d))?\s?([ap])\.?\s?m\b\.?(?!\w)", re.ASCII | re.IGNORECASE)
_CLOCK = re.compile(r"(?<![\d.:])([01]?\d|2[0-3]):([0-5]\d)(?![\d:])", re.ASCII)
_OCLOCK = re.compile(r"(?<=\d)\s?o'clock\b", re.ASCII | re.IGNORECASE)


def dates(text: str) -> str:
    """Normalize the dates and times in `text`, whose numbers are already in digits."""
    text = _ISO.sub(lambda found: f"{int(found[3])} {MONTHS[int(found[2]) - 1]} {found[1]}", text)
    text = _DAY_MONTH.sub(lambda found: f"{int(found[1])} {_month(found[2])}", text)
    text = _MONTH_DAY.sub(lambda found: f"{int(found[2])} {_month(found[1])}", text)
    text = _MONTH_YEAR.sub(lambda found: _month(found[1]), text)
    text = _NOON.sub(lambda found: "12 pm" if found[1] else "12 am", text)
    text = _HALF_DAY.sub(lambda found: _time(int(found[1]), found[2] or "00", f" {found[3].casefold()}m"), text)
    return _OCLOCK.sub("", _CLOCK.sub(_on_the_clock, text))


def _month(name: str) -> str:
    return _BY_START[name[:3].casefold()]


def _on_the_clock(found: re.Match[str]) -> str:
    """Convert 19:30 to 7:30 pm; 7:30 gets no am or pm, since it is ambiguous."""
    hour = int(found[1])
    return _time(hour % 12 or 12, found[2], " pm" if hour > 12 else " am" if hour == 0 else "")


def _time(hour: int, minutes: str, half: str) -> str:
    return f"{hour}{minutes if minutes != '00' else ''}{half} "
