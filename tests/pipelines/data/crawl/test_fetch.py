"""Pages fetched from a real server on this machine."""

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
from pipelines.data.crawl.fetch import CrawlPolicy, fetch, read_list
from pipelines.data.crawl.url_safety import RefusedError, check_address, check_url
from pipelines.data.documents import Document
from pipelines.data.extract.readers import Limits, extract
from pipelines.runtime.errors import UserError

PAGE = f"<html><title>Bells</title><body><main><p>{'The bell is rung twice. ' * 20}</p></main></body></html>".encode()
MANNERS = CrawlPolicy(delay=0.0, seconds=2.0, max_bytes=20_000, backoff=0.01, allow_private=True)


class Site(BaseHTTPRequestHandler):
    """A site with every kind of page; counts what it is asked."""

    asked: ClassVar[Counter[str]] = Counter()
    times: ClassVar[list[float]] = []
    robots: ClassVar[str | int] = "User-agent: *\nDisallow: /secret"
    rules = "User-agent: *\nDisallow: /secret\n" + "# x\n" * 150_000

    def do_GET(self) -> None:
        """Answer."""
        Site.asked[self.path] += 1
        Site.times.append(time.monotonic())
        first = Site.asked[self.path] == 1
        if self.path == "/robots.txt" and isinstance(Site.robots, int):
            self.reply(Site.robots, b"", "text/plain")
        elif self.path == "/robots.txt" and Site.robots.startswith(("/", "http")):
            self.reply(301, b"", "text/plain", ("Location", Site.robots))
        elif self.path in ("/robots.txt", "/rules.txt"):
            self.reply(200, Site.rules.encode() if self.path == "/rules.txt" else Site.robots.encode(), "text/plain")
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

    def reply(self, status: int, body: bytes, kind: str, *headers: tuple[str, str]) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    """The address of the running site."""
    Site.asked.clear()
    Site.times.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def get(archive: Archive, *urls: str, manners: CrawlPolicy = MANNERS, refresh: bool = False) -> dict[str, str]:
    return asyncio.run(fetch(urls, archive, manners, refresh))


def test_pages_become_documents_and_the_others_rejects_with_reasons(site: str, tmp_path: Path) -> None:
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
        "loop": "leads on more than 5 times",
        "out": "not an address of the web (http or https)",
        "large": "larger than 20000 bytes",
        "image": "image/png is nothing that can be read",
    }
    found = list(extract(tmp_path / "a.warc.gz", tmp_path, Limits(100_000, 100)))
    assert all(isinstance(each, Document) for each in found)
    assert [each.url for each in found if isinstance(each, Document)] == [f"{site}/{name}" for name in pages]
    assert Site.asked["/broken"] == 4 and Site.asked["/secret"] == 0 and Site.asked["/robots.txt"] == 1


def test_what_is_there_is_not_asked_for_again_and_a_torn_end_is_mended(site: str, tmp_path: Path) -> None:
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


def test_a_refresh_pays_for_what_changed(site: str, tmp_path: Path) -> None:
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
        ("http://[broken", "page", "no address"),
    ],
)
def test_robots_txt_is_followed_and_what_cannot_be_had_allows_or_refuses_everything(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, robots: str | int, page: str, why: str | None
) -> None:
    port = site.rpartition(":")[2]
    monkeypatch.setattr(Site, "robots", robots.format(port=port) if isinstance(robots, str) else robots)
    rejects = get(Archive(tmp_path / "a.warc.gz"), f"{site}/{page}", f"{site}/{page}?again")
    assert len(rejects) == (2 if why else 0) and all(reason.startswith(why or "") for reason in rejects.values())
    assert Site.asked["/robots.txt"] <= 6 and (not why or not Site.asked[f"/{page}"])


def test_headers_of_any_bytes_and_bad_redirects_end_no_fetch(site: str, tmp_path: Path) -> None:
    rejects = get(Archive(tmp_path / "a.warc.gz"), *(f"{site}/{name}" for name in ("odd", "latin", "kind", "later")))
    assert {url.rpartition("/")[2]: "" for url in rejects} == {"odd": "", "kind": ""}
    "".join(rejects.values()).encode()
    assert list(Archive(tmp_path / "a.warc.gz").kept) == [f"{site}/latin", f"{site}/later"]


def test_a_host_is_left_alone_as_long_as_it_says(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Site, "robots", "User-agent: *\nCrawl-delay: 1")
    manners = CrawlPolicy(delay=0.2, seconds=2.0, max_bytes=20_000, allow_private=True)
    get(Archive(tmp_path / "a.warc.gz"), f"{site}/a", f"{site}/b", manners=manners)
    robots, first, second = Site.times
    assert first - robots >= 0.19 and second - first >= 0.99


def test_private_machines_are_refused_by_number_by_name_and_behind_a_redirect(site: str, tmp_path: Path) -> None:
    manners = CrawlPolicy(delay=0.0, seconds=2.0, max_bytes=20_000, backoff=0.01)
    named = site.replace("127.0.0.1", "localhost")
    rejects = get(Archive(tmp_path / "a.warc.gz"), f"{site}/page", f"{named}/page", manners=manners)
    assert list(rejects.values()) == ["127.0.0.1 is no public address"] * 2
    assert not Site.asked
    with pytest.raises(RefusedError, match="no public address"):
        check_url("http://169.254.169.254/latest/meta-data", allow_private=False)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1%eth0",
                "::ffff:10.0.0.1", "fd00::1", "100.64.0.1"]
)  # fmt: skip
def test_no_private_address_passes(address: str) -> None:
    with pytest.raises(RefusedError):
        check_address(address)
    check_address("93.184.216.34")
    check_address("2606:2800:220:1:248:1893:25c8:1946")


def test_lists_are_read_and_empty_ones_refused(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("# pages\nhttps://a.example/x\n\nhttps://a.example/x\n")
    assert read_list(tmp_path / "l.txt") == ["https://a.example/x"]
    (tmp_path / "l.txt").write_text("# nothing\n")
    for name in ("l.txt", "m.txt"):
        with pytest.raises(UserError, match="one a line"):
            read_list(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_of_addresses_is_read_by_its_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "pages.txt").write_bytes("https://a.example/é\r\n# no page\r\n".encode(encoding))
    assert read_list(tmp_path / "pages.txt") == ["https://a.example/é"]
