"""WARC reader: responses with a supported media type. A damaged record is rejected without affecting the others.

fastwarc parses HTTP, but records are delimited here, because fastwarc stops at the first damage. A record is valid if
it has a length and a line end follows it; otherwise reading resumes at the next record.
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
    """A web server's response."""

    url: str
    kind: str
    """Format name of `extract`."""
    charset: str | None
    """Charset declared in Content-Type."""
    data: bytes


def pages(stream: Any, longest: int) -> Iterator[Page | UnreadableError]:
    """Yield each readable response with status 200, or the error of a damaged record."""
    window = Window(blocks(stream))
    while window.buffer or window.more() or window.gap:
        try:
            headers, content = window.record(longest + _LONGEST_HEADER)
            if headers.get("warc-type") == "response" and (page := _page(headers, content, longest)):
                yield page
        except UnreadableError as error:
            yield error


def _page(headers: dict[str, str], content: bytes, longest: int) -> Page | None:
    """Read an HTTP response; return None for another media type or status."""
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
    """Buffer of decompressed bytes that no record has consumed yet."""

    def __init__(self, source: Iterator[bytes]) -> None:
        """Start with an empty buffer."""
        self.source, self.buffer = source, bytearray()
        self.gap = self.ended = False

    def more(self) -> bool:
        """Read another block; return False at a gap or at the end."""
        if self.gap or self.ended:
            return False
        block = next(self.source, None)
        self.gap, self.ended = block == GAP, block is None
        self.buffer += block or b""
        return bool(block)

    def record(self, most: int) -> tuple[dict[str, str], bytes]:
        """Return the next record: its headers and up to `most` bytes of its content.

        Raises:
            UnreadableError: the record is damaged; the buffer is moved to the start of the next one.
        """
        if not self.buffer:
            raise self._skip_damaged("cannot be decompressed")
        headers, start = self._header()
        if not _LENGTH.fullmatch(length := headers.get("content-length", "")):
            raise self._skip_damaged("no record with a length starts here")
        size = int(length)
        end = start + min(size, most)
        if not self._reach(end + 1) and not (self.ended and len(self.buffer) == end):
            raise self._skip_damaged("truncated")
        self._reach(end + len(b"\r\nWARC/"))
        if size <= most and not _AFTER.match(self.buffer, end):
            raise self._skip_damaged("wrong length")
        content = bytes(self.buffer[start:end])
        self._drop(start + size)
        return headers, content

    def _header(self) -> tuple[dict[str, str], int]:
        """Return the next headers, with lower-case names, and their size in bytes; empty if no record starts here."""
        while not (found := _HEADER.match(self.buffer)) and len(self.buffer) < _LONGEST_HEADER and self.more():
            pass
        lines = found[1].decode("utf-8", "replace").split("\n") if found else []
        parts = (line.partition(":") for line in lines)
        return {name.strip().lower(): value.strip() for name, _, value in parts}, found.end() if found else 0

    def _reach(self, size: int) -> bool:
        while len(self.buffer) < size and self.more():
            pass
        return len(self.buffer) >= size

    def _drop(self, size: int) -> None:
        """Discard `size` bytes and the line ends after them."""
        while size > len(self.buffer):
            size -= len(self.buffer)
            self.buffer.clear()
            if not self.more():
                return
        del self.buffer[:size]
        while self._reach(1) and not self.buffer[:1].strip(b"\r\n"):
            del self.buffer[:1]

    def _skip_damaged(self, reason: str) -> UnreadableError:
        """Discard bytes up to the next record or gap, and return the error."""
        while not (found := _START.search(self.buffer, 1)):
            del self.buffer[:-_LONGEST_NAME]
            if not self.more():
                self.buffer.clear()
                self.gap = False
                return UnreadableError(f"damaged: {reason}")
        start = found.start()
        del found, self.buffer[:start]
        return UnreadableError(f"damaged: {reason}")
