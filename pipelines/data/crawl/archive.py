"""Appendable web archive (WARC 1.1): one gzip member per response, so complete records survive a crash."""

import gzip
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from fastwarc.warc import ArchiveIterator, WarcRecordType

_HOP_BY_HOP = frozenset({"transfer-encoding", "content-encoding", "content-length", "connection", "keep-alive"})


@dataclass(frozen=True)
class ArchivedResponse:
    """A response in the archive: its headers in lower case, and its gzip member."""

    headers: Mapping[str, str]
    member: bytes


class Archive:
    """The archive at a path; an incomplete record at its end is truncated."""

    def __init__(self, path: Path) -> None:
        """Read the archive if it exists."""
        self.path = path
        self.kept: dict[str, ArchivedResponse] = {}
        whole = 0
        for member in _members(path.read_bytes() if path.exists() else b""):
            whole += len(member)
            for record in ArchiveIterator(BytesIO(member), record_types=WarcRecordType.response):
                headers = {name.lower(): value for name, value in (record.http_headers or {}).items()}
                self.kept[record.headers["WARC-Target-URI"] or ""] = ArchivedResponse(headers, member)
        if path.exists() and whole < path.stat().st_size:
            with path.open("r+b") as file:
                file.truncate(whole)

    def add(self, url: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Append a response, replacing an earlier one of the same URL."""
        fields = [f"{name}: {value}" for name, value in headers.items() if name.lower() not in _HOP_BY_HOP]
        http = "\r\n".join([f"HTTP/1.1 {status} OK", *fields, f"Content-Length: {len(body)}", "", ""]).encode() + body
        head = [
            "WARC/1.1",
            "WARC-Type: response",
            f"WARC-Target-URI: {url}",
            f"WARC-Date: {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            f"WARC-Record-ID: <urn:uuid:{uuid.uuid4()}>",
            "Content-Type: application/http; msgtype=response",
            f"Content-Length: {len(http)}",
        ]
        member = gzip.compress("\r\n".join([*head, "", ""]).encode() + http + b"\r\n\r\n")
        if url in self.kept:
            self._replace(url)
        with self.path.open("ab") as file:
            file.write(member)
        self.kept[url] = ArchivedResponse({name.lower(): value for name, value in headers.items()}, member)

    def _replace(self, url: str) -> None:
        """Remove the response of a URL with an atomic rewrite of the archive."""
        temporary = self.path.with_name(self.path.name + ".part")
        temporary.write_bytes(b"".join(kept.member for each, kept in self.kept.items() if each != url))
        temporary.replace(self.path)


def _members(data: bytes) -> Iterator[bytes]:
    """Yield the complete gzip members of `data`."""
    while data:
        reader = zlib.decompressobj(wbits=31)
        try:
            reader.decompress(data)
        except zlib.error:
            return
        if not reader.eof:
            return
        size = len(data) - len(reader.unused_data)
        yield data[:size]
        data = data[size:]
