"""What a site's robots.txt lets this crawler fetch (RFC 9309)."""

import re

from protego import Protego

AGENT = "Gradus"
"""The product token by which rules name this crawler."""
MOST_BYTES = 500 * 1024
"""Of a robots.txt that are read: what the RFC asks for (section 2.5)."""
_LINE_END = re.compile(r"\r\n|\r|\n")
_USER_AGENT = re.compile(r"\s*user[- ]?agent\s*[:\s]\s*(.*)", re.IGNORECASE)
_RULE = re.compile(r"\s*(?:allow|dis\w+|diasllow|crawl[- ]delay)\s*[:\s]", re.IGNORECASE)
_TOKEN = re.compile(r"\*(?=[\s#]|$)|[a-z_-]*", re.IGNORECASE)


class Rules:
    """The groups of a robots.txt that hold for this crawler."""

    def __init__(self, body: bytes) -> None:
        """Parse a file; what is empty allows everything."""
        text = body[:MOST_BYTES].decode("utf-8-sig", "replace")
        self.parsed = Protego.parse("\n".join(filter(None, map(_record, _LINE_END.split(text)))))

    def allow(self, url: str) -> bool:
        """Tell whether this page may be fetched."""
        return self.parsed.can_fetch(url, AGENT)

    def delay(self) -> float:
        """Return the seconds between two requests that `Crawl-delay` asks for."""
        return self.parsed.crawl_delay(AGENT) or 0.0


def _record(line: str) -> str:
    """Return a line as Protego is to read it, nothing for an unknown record.

    Protego also takes a user agent that begins this one's name for it, misses `Gradus/1.0`, and ends a group at an
    unknown record (RFC 9309, sections 2.2.1 and 2.2.4).
    """
    if named := _USER_AGENT.match(line):
        token = _TOKEN.match(named[1])
        assert token is not None
        return f"User-agent: {token[0] if token[0].lower() in ('*', AGENT.lower()) else 'another'}"
    return line if _RULE.match(line) else ""
