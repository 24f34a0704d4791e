"""One host of a crawl: requests at its rate limit, with retries, as its robots.txt allows."""

import asyncio
import random
from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp

from pipelines.data.crawl.robots import MOST_BYTES, Rules
from pipelines.data.crawl.url_safety import RefusedError, check_url
from pipelines.runtime import retry_after
from pipelines.text.encoding import encodable_value

REDIRECTS = 5
"""Redirects that are followed (RFC 9309, section 2.3.1.2, asks for at least five)."""
_TRIES = 4
_LONGEST_WAIT = 60.0
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class CrawlPolicy:
    """Request limits and retry settings of the crawler."""

    delay: float
    """Seconds between two requests to one host; a longer Crawl-delay in robots.txt takes precedence."""
    seconds: float
    """Timeout per page."""
    max_bytes: int
    """Maximum size of a page."""
    backoff: float = 1.0
    """Seconds before the second attempt; doubled for each further attempt, with jitter."""
    allow_private: bool = False
    """Whether private network addresses may be requested."""


@dataclass(frozen=True)
class Response:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes
    """Body, truncated one byte after the limit."""

    @property
    def target(self) -> str | None:
        """Target of a redirect."""
        return self.headers.get("Location") if self.status in _MOVED else None


class Host:
    """A host: its robots.txt rules and its rate limit."""

    def __init__(self, session: aiohttp.ClientSession, policy: CrawlPolicy) -> None:
        """Start without rules and without delay."""
        self.session, self.policy = session, policy
        self.rules: dict[str, Rules | RefusedError] = {}
        self.delay, self.free = policy.delay, 0.0

    async def check(self, url: str) -> None:
        """Check a page against the host's robots.txt and adopt its Crawl-delay.

        Raises:
            RefusedError: robots.txt disallows the page or cannot be read.
        """
        root = urljoin(url, "/robots.txt")
        if root not in self.rules:
            try:
                self.rules[root] = await self._read_rules(root)
            except RefusedError as error:
                self.rules[root] = error
        rules = self.rules[root]
        if isinstance(rules, RefusedError):
            raise rules
        if not rules.allow(url):
            raise RefusedError("robots.txt does not allow it")
        self.delay = max(self.policy.delay, rules.delay())

    async def _read_rules(self, place: str) -> Rules:
        """Fetch robots.txt (RFC 9309, section 2.3.1); a missing file or too many redirects allow everything.

        Raises:
            RefusedError: it is unreachable, or the server fails or is too busy (429), which disallows everything.
        """
        for _ in range(REDIRECTS + 1):
            response = await self.ask(place, {}, MOST_BYTES)
            if response.status >= 500 or response.status == 429:
                raise RefusedError(f"robots.txt cannot be read (status {response.status})")
            if response.target is None:
                return Rules(response.body if 200 <= response.status < 300 else b"")
            place = redirect_target(place, response.target)
        return Rules(b"")

    async def ask(self, url: str, headers: dict[str, str], most: int) -> Response:
        """Return the response, with retries; its body is truncated to `most + 1` bytes.

        Raises:
            RefusedError: every attempt failed.
        """
        check_url(url, self.policy.allow_private)
        reason = ""
        for attempt in range(_TRIES):
            await asyncio.sleep(max(0.0, self.free - asyncio.get_running_loop().time()))
            wait = self.policy.backoff * 2**attempt * (1 + random.random())
            try:
                async with self.session.get(url, headers=headers, allow_redirects=False) as response:
                    if response.status not in _TRANSIENT or attempt == _TRIES - 1:
                        fields: dict[str, str] = encodable_value(dict(response.headers))
                        return Response(response.status, fields, await _body(response, most + 1))
                    reason = f"status {response.status}"
                    wait = retry_after.seconds(response.headers, wait, _LONGEST_WAIT)
            except TimeoutError:
                reason = f"took longer than {self.policy.seconds:.0f} s"
            except aiohttp.ClientConnectorError as error:
                raise RefusedError(f"cannot be reached: {error}") from error
            except ValueError as error:
                raise RefusedError(f"invalid URL: {error}") from error
            except aiohttp.ClientError as error:
                reason = f"{type(error).__name__}: {error}"
            finally:
                self.free = asyncio.get_running_loop().time() + self.delay
            await asyncio.sleep(wait)
        raise RefusedError(reason)


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes:
    body = bytearray()
    async for part in response.content.iter_chunked(2**16):
        body += part
        if len(body) >= most:
            break
    return bytes(body[:most])


def redirect_target(url: str, target: str) -> str:
    """Return the absolute URL to which `url` redirects.

    Raises:
        RefusedError: the target is not a valid URL.
    """
    try:
        return urljoin(url, target)
    except ValueError as error:
        raise RefusedError(f"invalid URL: {error}") from error
