"""How long a server asks a client to wait before it tries again: Retry-After (RFC 9110, section 10.2.3).

It is a number of seconds or a date. Azure OpenAI sends the more precise `retry-after-ms` beside it.
"""

import re
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

STATUSES = frozenset({429, 503})
"""Too many requests, and overloaded for a while: the statuses that ask for a pause."""
_NUMBER = re.compile(r"\d+(?:\.\d*)?", re.ASCII)


def seconds(headers: Mapping[str, str], otherwise: float, longest: float) -> float:
    """Return the seconds to wait, at most `longest`; `otherwise` where the server names none that can be read.

    `headers` are compared without regard to case by themselves, as aiohttp's are. A date is measured from the answer's
    own `Date`, so that a clock that is wrong, here or there, changes nothing.
    """
    for name, scale in (("retry-after-ms", 1e-3), ("Retry-After", 1.0)):
        said = headers.get(name, "").strip()
        if _NUMBER.fullmatch(said):
            return min(float(said) * scale, longest)
    until = _moment(headers.get("Retry-After", ""))
    if until is None:
        return otherwise
    now = _moment(headers.get("Date", ""))
    return min(max(0.0, until - (time.time() if now is None else now)), longest)


def _moment(date: str) -> float | None:
    """Return the Unix time of an HTTP date in any of its three forms, one of which names no zone; None for no date."""
    try:
        moment = parsedate_to_datetime(date)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
