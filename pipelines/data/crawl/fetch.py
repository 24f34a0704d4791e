"""Polite web crawler: obeys robots.txt, sends one request per host at a time and refuses private addresses.

Pages already in the archive are not requested again. Several hosts are crawled concurrently.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from pipelines.data.crawl.archive import Archive
from pipelines.data.crawl.host import REDIRECTS, CrawlPolicy, Host, redirect_target
from pipelines.data.crawl.robots import AGENT
from pipelines.data.crawl.url_safety import PublicResolver, RefusedError, check_url
from pipelines.data.extract.archives import MEDIA
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import Meter
from pipelines.text.encoding import encodable
from pipelines.user_files import read_text

_HOSTS = 16  # crawled concurrently


def read_list(path: Path) -> list[str]:
    """Return the URLs in a file, one per line; lines that begin with `#` are comments.

    Raises:
        UserError: the file does not exist or contains no URL.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; create it with one URL per line.")
    lines = (line.strip() for line in read_text(path).splitlines())
    urls = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not urls:
        raise UserError(f"{path} contains no URL; add one URL per line.")
    return urls


async def fetch(urls: Sequence[str], archive: Archive, policy: CrawlPolicy, refresh: bool = False) -> dict[str, str]:
    """Fetch the URLs missing from the archive, or all with `refresh`; return the rejection reasons by URL."""
    rejects: dict[str, str] = {}
    wanted = [url for url in urls if refresh or url not in archive.kept]
    by_host: dict[str, list[str]] = defaultdict(list)
    for url in wanted:
        by_host[_host(url)].append(url)
    meter, slots = Meter("fetching", len(wanted)), asyncio.Semaphore(_HOSTS)
    async with _session(policy) as session:

        async def of_host(pages: list[str]) -> None:
            async with slots:
                host = Host(session, policy)
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


async def _one(host: Host, url: str, archive: Archive) -> None:
    """Fetch one page into the archive, following redirects."""
    known = archive.kept[url].headers if url in archive.kept else {}
    conditions = {"If-None-Match": known.get("etag"), "If-Modified-Since": known.get("last-modified")}
    location = url
    for _ in range(REDIRECTS + 1):
        check_url(location, host.policy.allow_private)
        await host.check(location)
        request_headers = {name: value for name, value in conditions.items() if value}
        response = await host.ask(location, request_headers, host.policy.max_bytes)
        if response.target is not None:
            location = redirect_target(location, response.target)
            continue
        if response.status == 304:
            return
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if response.status != 200:
            raise RefusedError(f"status {response.status}")
        if kind not in MEDIA:
            raise RefusedError(f"{kind or 'no media type'} is not supported")
        if len(response.body) > host.policy.max_bytes:
            raise RefusedError(f"larger than {host.policy.max_bytes} bytes")
        archive.add(url, response.status, response.headers, response.body)
        return
    raise RefusedError(f"more than {REDIRECTS} redirects")


def fetch_into(pages: Path, into: Path, policy: CrawlPolicy, refresh: bool) -> tuple[int, dict[str, str]]:
    """Fetch the URLs listed in `pages` into a web archive in `into`; return their number and the rejects.

    Raises:
        UserError: the list is missing or contains no URL.
    """
    urls = read_list(pages)
    into.mkdir(parents=True, exist_ok=True)
    archive = Archive(into / f"{pages.stem}.warc.gz")
    return len(urls), asyncio.run(fetch(urls, archive, policy, refresh))


@asynccontextmanager
async def _session(policy: CrawlPolicy) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(resolver=None if policy.allow_private else PublicResolver(), limit=_HOSTS)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=policy.seconds),
        headers={"User-Agent": f"{AGENT} (fetches pages that its user named)"},
        trust_env=False,
    ) as session:
        yield session


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""  # the URL is rejected when it is fetched
