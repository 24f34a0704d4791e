"""Parsing of the Retry-After header (RFC 9110, section 10.2.3), a number of seconds or a date.

Azure OpenAI also sends the more precise `retry-after-ms`.
"""

import re
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

STATUSES = frozenset({429, 503})
"""Too Many Requests and Service Unavailable: the statuses that ask for a pause."""
_NUMBER = re.compile(r"\d+(?:\.\d*)?", re.ASCII)


def seconds(headers: Mapping[str, str], otherwise: float, longest: float) -> float:
    """Return the seconds to wait, at most `longest`; `otherwise` if the headers contain no valid value.

    `headers` must be case-insensitive, as aiohttp's are. A date is relative to the response's `Date` header, so that
    clock skew has no effect.
    """
    for name, scale in (("retry-after-ms", 1e-3), ("Retry-After", 1.0)):
        value = headers.get(name, "").strip()
        if _NUMBER.fullmatch(value):
            return min(float(value) * scale, longest)
    until = _moment(headers.get("Retry-After", ""))
    if until is None:
        return otherwise
    now = _moment(headers.get("Date", ""))
    return min(max(0.0, until - (time.time() if now is None else now)), longest)


def _moment(date: str) -> float | None:
    """Return the Unix time of an HTTP date in any of its three formats (one has no time zone); None if invalid."""
    try:
        moment = parsedate_to_datetime(date)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
