"""Pages of the web, fetched politely: as robots.txt allows, one at a time of each host, never from private machines.

What was fetched before is not asked for again. Several hosts are asked at once.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import aiohttp

from pipelines.data.crawl.archive import Archive
from pipelines.data.crawl.robots import AGENT, MOST_BYTES, Rules
from pipelines.data.crawl.url_safety import PublicResolver, RefusedError, check_url
from pipelines.data.extract.archives import MEDIA
from pipelines.runtime import retry_after
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import Meter
from pipelines.text.encoding import encodable, encodable_value
from pipelines.user_files import read_text

_HOSTS = 16  # asked at once
_TRIES = 4
_REDIRECTS = 5
_LONGEST_WAIT = 60.0
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class CrawlPolicy:
    """How pages are asked for."""

    delay: float
    """Seconds between two questions to one host; a longer Crawl-delay of its own goes before."""
    seconds: float
    """A page may take."""
    max_bytes: int
    """A page may have."""
    backoff: float = 1.0
    """Seconds before the second try; doubled for each further one, and by chance a little more."""
    allow_private: bool = False
    """Whether machines of one's own network may be asked."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes
    """Cut behind the first byte that is too many."""

    @property
    def target(self) -> str | None:
        """Where a redirect leads."""
        return self.headers.get("Location") if self.status in _MOVED else None


def read_list(path: Path) -> list[str]:
    """Return the addresses in a file, one a line; what follows a `#` at a line's beginning is a comment.

    Raises:
        UserError: there is no such file, or no address in it.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; write addresses into it, one a line.")
    lines = (line.strip() for line in read_text(path).splitlines())
    urls = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not urls:
        raise UserError(f"{path} holds no address; write some into it, one a line.")
    return urls


async def fetch(urls: Sequence[str], archive: Archive, manners: CrawlPolicy, refresh: bool = False) -> dict[str, str]:
    """Fetch what the archive does not hold, or to `refresh` all; return the reasons of those that gave nothing."""
    rejects: dict[str, str] = {}
    wanted = [url for url in urls if refresh or url not in archive.kept]
    by_host: dict[str, list[str]] = defaultdict(list)
    for url in wanted:
        by_host[_host(url)].append(url)
    meter, places = Meter("fetching", len(wanted)), asyncio.Semaphore(_HOSTS)
    async with _session(manners) as session:

        async def of_host(pages: list[str]) -> None:
            async with places:
                host = Host(session, manners)
                for url in pages:
                    try:
                        await _one(host, url, archive)
                    except RefusedError as reason:
                        rejects[url] = encodable(str(reason))
                    meter.step()

        try:
            await asyncio.gather(*map(of_host, by_host.values()))
        finally:
            meter.close()
    return {url: rejects[url] for url in wanted if url in rejects}


class Host:
    """One host: its rules, and when it was asked last."""

    def __init__(self, session: aiohttp.ClientSession, manners: CrawlPolicy) -> None:
        """Nothing is known yet."""
        self.session, self.manners = session, manners
        self.rules: dict[str, Rules | RefusedError] = {}
        self.delay, self.free = manners.delay, 0.0

    async def check(self, url: str) -> None:
        """Refuse a page that the host's robots.txt does not allow, and wait between two questions as long as it says.

        Raises:
            RefusedError: it does not want to be asked this, or its rules cannot be read.
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
        self.delay = max(self.manners.delay, rules.delay())

    async def _read_rules(self, place: str) -> Rules:
        """Fetch robots.txt (RFC 9309, section 2.3.1): one that is not there, or led on too often, allows everything.

        Raises:
            RefusedError: it cannot be reached, or the server fails or is too busy (429): then nothing is allowed.
        """
        for _ in range(_REDIRECTS + 1):
            answer = await self.ask(place, {}, MOST_BYTES)
            if answer.status >= 500 or answer.status == 429:
                raise RefusedError(f"robots.txt cannot be read (status {answer.status})")
            if answer.target is None:
                return Rules(answer.body if 200 <= answer.status < 300 else b"")
            place = _led_on(place, answer.target)
        return Rules(b"")

    async def ask(self, url: str, headers: dict[str, str], most: int) -> Answer:
        """Return the answer, after as many tries as it takes; of its body `most` bytes, and one if there are more.

        Raises:
            RefusedError: there is none.
        """
        check_url(url, self.manners.allow_private)
        reason = ""
        for attempt in range(_TRIES):
            await asyncio.sleep(max(0.0, self.free - asyncio.get_running_loop().time()))
            wait = self.manners.backoff * 2**attempt * (1 + random.random())
            try:
                async with self.session.get(url, headers=headers, allow_redirects=False) as response:
                    if response.status not in _TRANSIENT or attempt == _TRIES - 1:
                        fields: dict[str, str] = encodable_value(dict(response.headers))
                        return Answer(response.status, fields, await _body(response, most + 1))
                    reason = f"status {response.status}"
                    wait = retry_after.seconds(response.headers, wait, _LONGEST_WAIT)
            except TimeoutError:
                reason = f"took longer than {self.manners.seconds:.0f} s"
            except aiohttp.ClientConnectorError as error:
                raise RefusedError(f"cannot be reached: {error}") from error
            except ValueError as error:
                raise RefusedError(f"no address: {error}") from error
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


async def _one(host: Host, url: str, archive: Archive) -> None:
    """Fetch one page, wherever it leads, into the archive."""
    known = archive.kept[url].headers if url in archive.kept else {}
    conditions = {"If-None-Match": known.get("etag"), "If-Modified-Since": known.get("last-modified")}
    place = url
    for _ in range(_REDIRECTS + 1):
        check_url(place, host.manners.allow_private)
        await host.check(place)
        asked = {name: value for name, value in conditions.items() if value}
        answer = await host.ask(place, asked, host.manners.max_bytes)
        if answer.target is not None:
            place = _led_on(place, answer.target)
            continue
        if answer.status == 304:
            return
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if answer.status != 200:
            raise RefusedError(f"status {answer.status}")
        if kind not in MEDIA:
            raise RefusedError(f"{kind or 'no kind'} is nothing that can be read")
        if len(answer.body) > host.manners.max_bytes:
            raise RefusedError(f"larger than {host.manners.max_bytes} bytes")
        archive.add(url, answer.status, answer.headers, answer.body)
        return
    raise RefusedError(f"leads on more than {_REDIRECTS} times")


def fetch_into(pages: Path, into: Path, manners: CrawlPolicy, refresh: bool) -> tuple[int, dict[str, str]]:
    """Fetch the addresses in `pages` into a web archive below `into`; return how many they are, and the rejects.

    Raises:
        UserError: there is no address.
    """
    urls = read_list(pages)
    into.mkdir(parents=True, exist_ok=True)
    archive = Archive(into / f"{pages.stem}.warc.gz")
    return len(urls), asyncio.run(fetch(urls, archive, manners, refresh))


@asynccontextmanager
async def _session(manners: CrawlPolicy) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(resolver=None if manners.allow_private else PublicResolver(), limit=_HOSTS)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=manners.seconds),
        headers={"User-Agent": f"{AGENT} (fetches pages that its user named)"},
        trust_env=False,
    ) as session:
        yield session


def _led_on(url: str, target: str) -> str:
    """Return the address to which `url` is redirected.

    Raises:
        RefusedError: it is none.
    """
    try:
        return urljoin(url, target)
    except ValueError as error:
        raise RefusedError(f"no address: {error}") from error


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""  # it is refused in its turn
