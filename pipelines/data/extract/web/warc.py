"""Web archives (WARC): the answers of a kind that can be read. A damaged record is a reject, and costs no other.

fastwarc parses HTTP; the records are cut out here, because it ends at the first damage. One is sound if its length is
stated and a line end follows it; else reading goes on where the next record begins.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastwarc.warc import WarcRecord

from pipelines.data.documents import UnreadableError
from pipelines.data.extract import charset
from pipelines.data.extract.archives import MEDIA
from pipelines.data.extract.web import http_body
from pipelines.data.extract.web.gzip_members import GAP, blocks

_LONGEST_HEADER = 2**16
_START = re.compile(rb"WARC/\d\.\d\r?\n(?=[A-Za-z-]+:)")
_HEADER = re.compile(rb"WARC/\d\.\d\r?\n(.*?\n)\r?\n", re.DOTALL)
_LONGEST_NAME = 64
_AFTER = re.compile(rb"(?:\r?\n){2}|(?:\r?\n)?(?:WARC/|\Z)")
_LENGTH = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Page:
    """An answer of a web server."""

    url: str
    kind: str
    """As `extract` names it."""
    charset: str | None
    """As its Content-Type declares it."""
    data: bytes


def pages(stream: Any, longest: int) -> Iterator[Page | UnreadableError]:
    """Yield each answer with status 200 that can be read, or what is wrong with a record."""
    window = Window(blocks(stream))
    while window.held or window.more() or window.gap:
        try:
            headers, content = window.record(longest + _LONGEST_HEADER)
            if headers.get("warc-type") == "response" and (page := _page(headers, content, longest)):
                yield page
        except UnreadableError as error:
            yield error


def _page(headers: dict[str, str], content: bytes, longest: int) -> Page | None:
    """Read an HTTP answer; None for one of another kind or status."""
    record = WarcRecord()
    record.set_bytes_content(content)
    record.is_http = headers.get("content-type", "").startswith("application/http")
    try:
        record.parse_http(quirks_mode=True)
    except OSError as error:
        raise UnreadableError(f"damaged: {error}") from error
    http = record.http_headers
    kind = MEDIA.get((record.http_content_type or "").partition(";")[0].strip().lower())
    if http is None or http.status_code != 200 or kind is None:
        return None
    encodings = ",".join([http.get("Content-Encoding") or "", http.get("Transfer-Encoding") or ""])
    data = http_body.decoded(record.reader.read(), encodings, longest)
    declared = charset.of_content_type(http.get("Content-Type") or "")
    return Page(headers.get("warc-target-uri", "").strip("<>"), kind, declared, data)


class Window:
    """The part of an archive that is held: what its blocks gave and no record took."""

    def __init__(self, source: Iterator[bytes]) -> None:
        """Hold nothing yet."""
        self.source, self.held = source, bytearray()
        self.gap = self.ended = False

    def more(self) -> bool:
        """Add a block; False if a gap, or the end, is next."""
        if self.gap or self.ended:
            return False
        block = next(self.source, None)
        self.gap, self.ended = block == GAP, block is None
        self.held += block or b""
        return bool(block)

    def record(self, most: int) -> tuple[dict[str, str], bytes]:
        """Take the next record: its headers, and of its content up to `most` bytes.

        Raises:
            UnreadableError: it is damaged; the next one is the next that begins.
        """
        if not self.held:
            raise self._lost("cannot be unpacked")
        headers, start = self._header()
        if not _LENGTH.fullmatch(length := headers.get("content-length", "")):
            raise self._lost("no record with a length begins here")
        size = int(length)
        end = start + min(size, most)
        if not self._reach(end + 1) and not (self.ended and len(self.held) == end):
            raise self._lost("torn")
        self._reach(end + len(b"\r\nWARC/"))
        if size <= most and not _AFTER.match(self.held, end):
            raise self._lost("its length is wrong")
        content = bytes(self.held[start:end])
        self._drop(start + size)
        return headers, content

    def _header(self) -> tuple[dict[str, str], int]:
        """Return the headers that are next, in lower case, and how many bytes they take; none if no record begins."""
        while not (found := _HEADER.match(self.held)) and len(self.held) < _LONGEST_HEADER and self.more():
            pass
        lines = found[1].decode("utf-8", "replace").split("\n") if found else []
        parts = (line.partition(":") for line in lines)
        return {name.strip().lower(): value.strip() for name, _, value in parts}, found.end() if found else 0

    def _reach(self, size: int) -> bool:
        while len(self.held) < size and self.more():
            pass
        return len(self.held) >= size

    def _drop(self, size: int) -> None:
        """Drop `size` bytes, and the line ends behind them."""
        while size > len(self.held):
            size -= len(self.held)
            self.held.clear()
            if not self.more():
                return
        del self.held[:size]
        while self._reach(1) and not self.held[:1].strip(b"\r\n"):
            del self.held[:1]

    def _lost(self, why: str) -> UnreadableError:
        """Drop what is held up to where the next record begins, at the latest up to a gap; return what is wrong."""
        while not (found := _START.search(self.held, 1)):
            del self.held[:-_LONGEST_NAME]
            if not self.more():
                self.held.clear()
                self.gap = False
                return UnreadableError(f"damaged: {why}")
        start = found.start()
        del found, self.held[:start]
        return UnreadableError(f"damaged: {why}")
