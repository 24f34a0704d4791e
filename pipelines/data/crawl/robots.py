"""Robots Exclusion Protocol (RFC 9309): the rules of a robots.txt that apply to this crawler."""

import re

from protego import Protego

AGENT = "Gradus"
"""Product token of this crawler."""
MOST_BYTES = 500 * 1024
"""Maximum number of bytes read from a robots.txt, as required by RFC 9309 (section 2.5)."""
_LINE_END = re.compile(r"\r\n|\r|\n")
_USER_AGENT = re.compile(r"\s*user[- ]?agent\s*[:\s]\s*(.*)", re.IGNORECASE)
_RULE = re.compile(r"\s*(?:allow|dis\w+|diasllow|crawl[- ]delay)\s*[:\s]", re.IGNORECASE)
_TOKEN = re.compile(r"\*(?=[\s#]|$)|[a-z_-]*", re.IGNORECASE)


class Rules:
    """Rule groups of a robots.txt that apply to this crawler."""

    def __init__(self, body: bytes) -> None:
        """Parse a robots.txt; an empty file allows everything."""
        text = body[:MOST_BYTES].decode("utf-8-sig", "replace")
        self.parsed = Protego.parse("\n".join(filter(None, map(_record, _LINE_END.split(text)))))

    def allow(self, url: str) -> bool:
        """Return whether a page may be fetched."""
        return self.parsed.can_fetch(url, AGENT)

    def delay(self) -> float:
        """Return the `Crawl-delay` in seconds, 0 if none is given."""
        return self.parsed.crawl_delay(AGENT) or 0.0


def _record(line: str) -> str:
    """Return a line rewritten for Protego, or an empty string for an unknown record.

    Protego deviates from RFC 9309 (sections 2.2.1 and 2.2.4): it also matches a prefix of the product token, misses
    `Gradus/1.0`, and ends a group at an unknown record.
    """
    if named := _USER_AGENT.match(line):
        token = _TOKEN.match(named[1])
        assert token is not None
        return f"User-agent: {token[0] if token[0].lower() in ('*', AGENT.lower()) else 'another'}"
    return line if _RULE.match(line) else ""
