"""Crawler against a local HTTP server."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipelines.data.crawl.archive import Archive
from pipelines.data.crawl.fetch import fetch, read_list
from pipelines.data.crawl.host import CrawlPolicy
from pipelines.data.crawl.url_safety import RefusedError, check_address, check_url
from pipelines.data.documents import Document
from pipelines.data.extract.readers import Limits, extract
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow

PAGE = f"<html><title>Bells</title><body><main><p>{'The bell is rung twice. ' * 20}</p></main></body></html>".encode()
POLICY = CrawlPolicy(delay=0.0, seconds=2.0, max_bytes=20_000, backoff=0.01, allow_private=True)


class Site(BaseHTTPRequestHandler):
    """A site with every kind of page that counts its requests."""

    asked: ClassVar[Counter[str]] = Counter()
    times: ClassVar[list[float]] = []
    robots: ClassVar[str | int] = "User-agent: *\nDisallow: /secret"
    rules = "User-agent: *\nDisallow: /secret\n" + "# x\n" * 150_000

    def do_GET(self) -> None:
        """Handle a GET request."""
        Site.asked[self.path] += 1
        Site.times.append(time.monotonic())
        first = Site.asked[self.path] == 1
        if self.path == "/robots.txt":
            self.reply_robots(Site.robots)
        elif self.path == "/rules.txt":
            self.reply_robots(Site.rules)
        elif self.path == "/later" and first:
            self.reply(503, b"", "text/html", ("Retry-After", format_datetime(datetime.now(UTC), usegmt=True)))
        elif self.path == "/odd":
            self.reply(302, b"", "text/html", ("Location", "http://[broken"))
        elif self.path == "/latin":
            self.reply(200, PAGE, "text/html", ("Server", "caf\u00e9"))
        elif self.path == "/kind":
            self.reply(200, PAGE, "caf\u00e9")
        elif self.path == "/busy" and first:
            self.reply(429, b"", "text/html", ("Retry-After", "0.01"))
        elif self.path == "/broken":
            self.reply(500, b"", "text/html")
        elif self.path == "/moved":
            self.reply(302, b"", "text/html", ("Location", "/page"))
        elif self.path == "/loop":
            self.reply(302, b"", "text/html", ("Location", "/loop"))
        elif self.path == "/out":
            self.reply(302, b"", "text/html", ("Location", "ftp://site.example/x"))
        elif self.path == "/large":
            self.reply(200, b"x" * 30_000, "text/html")
        elif self.path == "/image":
            self.reply(200, b"x", "image/png")
        elif self.path == "/tagged" and self.headers.get("If-None-Match") == '"1"':
            self.reply(304, b"", "text/html")
        elif self.path == "/cut" and first:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhalf")
            self.close_connection = True
        elif self.path == "/text":
            self.reply(200, b"The gate is opened. " * 20, "text/plain; charset=utf-8")
        else:
            self.reply(200, PAGE, "text/html; charset=utf-8", ("ETag", '"1"'))

    def reply_robots(self, robots: str | int) -> None:
        """Send rules, a redirect to them, or a status."""
        if isinstance(robots, int):
            self.reply(robots, b"", "text/plain")
        elif robots.startswith(("/", "http")):
            self.reply(301, b"", "text/plain", ("Location", robots))
        else:
            self.reply(200, robots.encode(), "text/plain")

    def reply(self, status: int, body: bytes, kind: str, *headers: tuple[str, str]) -> None:
        """Send a response."""
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Suppress the log."""


@pytest.fixture
def site() -> Iterator[str]:
    """Start the site and return its address."""
    Site.asked.clear()
    Site.times.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def get(archive: Archive, *urls: str, policy: CrawlPolicy = POLICY, refresh: bool = False) -> dict[str, str]:
    return asyncio.run(fetch(urls, archive, policy, refresh))


def test_pages_become_documents_and_failures_become_rejects(site: str, tmp_path: Path) -> None:
    pages = ["page", "moved", "busy", "cut", "text"]
    odd = ["http://[broken", "no address", "http://a..b/"]
    rejects = get(
        Archive(tmp_path / "a.warc.gz"),
        *(f"{site}/{name}" for name in [*pages, "secret", "broken", "loop", "out", "large", "image"]),
        *odd,
    )
    assert all(rejects.pop(url) for url in odd)
    assert {url.removeprefix(f"{site}/"): reason for url, reason in rejects.items()} == {
        "secret": "robots.txt does not allow it",
        "broken": "status 500",
        "loop": "more than 5 redirects",
        "out": "not an HTTP or HTTPS URL",
        "large": "larger than 20000 bytes",
        "image": "image/png is not supported",
    }
    found = list(extract(tmp_path / "a.warc.gz", tmp_path, Limits(100_000, 100)))
    assert all(isinstance(each, Document) for each in found)
    assert [each.url for each in found if isinstance(each, Document)] == [f"{site}/{name}" for name in pages]
    assert Site.asked["/broken"] == 4 and Site.asked["/secret"] == 0 and Site.asked["/robots.txt"] == 1


def test_archived_pages_are_not_fetched_again_and_incomplete_end_is_truncated(site: str, tmp_path: Path) -> None:
    file = tmp_path / "a.warc.gz"
    get(Archive(file), f"{site}/page", f"{site}/text")
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    Site.asked.clear()
    archive = Archive(file)
    assert list(archive.kept) == [f"{site}/page"]
    assert get(archive, f"{site}/page", f"{site}/text") == {}
    assert set(Site.asked) == {"/robots.txt", "/text"}
    assert list(Archive(file).kept) == [f"{site}/page", f"{site}/text"]


def test_refresh_fetches_only_changed_pages(site: str, tmp_path: Path) -> None:
    file = tmp_path / "a.warc.gz"
    get(Archive(file), f"{site}/tagged", f"{site}/text")
    before = file.read_bytes()
    get(Archive(file), f"{site}/tagged", refresh=True)
    assert file.read_bytes() == before and Site.asked["/tagged"] == 2
    get(Archive(file), f"{site}/text", refresh=True)
    assert len(Archive(file).kept) == 2 and file.read_bytes() != before


@pytest.mark.parametrize(
    ("robots", "page", "why"),
    [
        ("/rules.txt", "secret", "robots.txt does not allow it"),
        ("/rules.txt", "page", None),
        ("http://localhost:{port}/rules.txt", "secret", "robots.txt does not allow it"),
        ("/robots.txt", "secret", None),
        (404, "secret", None),
        (403, "secret", None),
        (500, "page", "robots.txt cannot be read (status 500)"),
        (429, "page", "robots.txt cannot be read (status 429)"),
        ("http://127.0.0.1:9/robots.txt", "page", "cannot be reached"),
        ("http://[broken", "page", "invalid URL"),
    ],
)
def test_robots_txt_is_obeyed_and_unavailable_files_allow_or_refuse_everything(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, robots: str | int, page: str, why: str | None
) -> None:
    port = site.rpartition(":")[2]
    monkeypatch.setattr(Site, "robots", robots.format(port=port) if isinstance(robots, str) else robots)
    rejects = get(Archive(tmp_path / "a.warc.gz"), f"{site}/{page}", f"{site}/{page}?again")
    assert len(rejects) == (2 if why else 0) and all(reason.startswith(why or "") for reason in rejects.values())
    assert Site.asked["/robots.txt"] <= 6 and (not why or not Site.asked[f"/{page}"])


def test_invalid_headers_and_redirects_do_not_abort_the_crawl(site: str, tmp_path: Path) -> None:
    rejects = get(Archive(tmp_path / "a.warc.gz"), *(f"{site}/{name}" for name in ("odd", "latin", "kind", "later")))
    assert {url.rpartition("/")[2]: "" for url in rejects} == {"odd": "", "kind": ""}
    "".join(rejects.values()).encode()
    assert list(Archive(tmp_path / "a.warc.gz").kept) == [f"{site}/latin", f"{site}/later"]


def test_crawl_delay_is_respected(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Site, "robots", "User-agent: *\nCrawl-delay: 1")
    policy = CrawlPolicy(delay=0.2, seconds=2.0, max_bytes=20_000, allow_private=True)
    get(Archive(tmp_path / "a.warc.gz"), f"{site}/a", f"{site}/b", policy=policy)
    robots, first, second = Site.times
    assert first - robots >= 0.19 and second - first >= 0.99


def test_private_addresses_are_refused_by_number_name_and_redirect(site: str, tmp_path: Path) -> None:
    policy = CrawlPolicy(delay=0.0, seconds=2.0, max_bytes=20_000, backoff=0.01)
    named = site.replace("127.0.0.1", "localhost")
    rejects = get(Archive(tmp_path / "a.warc.gz"), f"{site}/page", f"{named}/page", policy=policy)
    assert list(rejects.values()) == ["127.0.0.1 is not a public address"] * 2
    assert not Site.asked
    with pytest.raises(RefusedError, match="not a public address"):
        check_url("http://169.254.169.254/latest/meta-data", allow_private=False)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1%eth0",
                "::ffff:10.0.0.1", "fd00::1", "100.64.0.1"]
)  # fmt: skip
def test_private_addresses_are_refused(address: str) -> None:
    with pytest.raises(RefusedError):
        check_address(address)
    check_address("93.184.216.34")
    check_address("2606:2800:220:1:248:1893:25c8:1946")


def test_url_lists_are_read_and_empty_lists_raise_errors(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("# pages\nhttps://a.example/x\n\nhttps://a.example/x\n")
    assert read_list(tmp_path / "l.txt") == ["https://a.example/x"]
    (tmp_path / "l.txt").write_text("# nothing\n")
    for name in ("l.txt", "m.txt"):
        with pytest.raises(UserError, match="one URL per line"):
            read_list(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_url_list_is_decoded_by_its_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "pages.txt").write_bytes("https://a.example/é\r\n# no page\r\n".encode(encoding))
    assert read_list(tmp_path / "pages.txt") == ["https://a.example/é"]
