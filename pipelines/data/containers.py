"""Files that hold files or rows: archives, compressed files, JSON lines, Parquet.

Everything is read as a stream and nothing is written, so that no archive reaches beyond itself; what is unpacked is
bounded, so that a small file cannot become a huge one.
"""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.data import dates
from pipelines.data.documents import Content, UnreadableError

MEDIA = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "text/plain": "text",
    "text/markdown": "markdown",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/epub+zip": "epub",
}
"""How `extract` names the kinds of content that can be read."""

RATIO = 200  # text packs by 3 to 20; what unpacks to more than this is a bomb
DEPTH = 3  # archives in archives
TEXT_COLUMNS = ("text", "content", "body", "document")
DATE_COLUMNS = ("date", "published", "timestamp", "created")
DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    pa.ArrowException,
)
"""What the libraries below raise on a damaged file."""


class Bounded(io.RawIOBase):
    """A stream that gives at most `limit` bytes, and then complains."""

    def __init__(self, stream: Any, limit: int) -> None:
        """Read from `stream`."""
        self.stream, self.limit, self.given = stream, limit, 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`.

        Raises:
            UnreadableError: there is more than the limit.
        """
        data = self.stream.read(len(buffer))
        self.given += len(data)
        if self.given > self.limit:
            raise UnreadableError(f"larger than {self.limit} bytes when unpacked")
        buffer[: len(data)] = data
        return len(data)


def _gzip(stream: Any) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=stream)


def _zstd(stream: Any) -> Any:
    return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")


COMPRESSED: dict[str, Callable[[Any], Any]] = {".gz": _gzip, ".zst": _zstd, ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile}


def uncompressed(source: str, stream: Any, limit: int) -> tuple[str, Bounded]:
    """Return the name of a compressed file without its last suffix, and its content."""
    path = PurePosixPath(source)
    suffix = path.suffix.lower()
    if suffix == ".tgz":
        return f"{path.stem}.tar", Bounded(_gzip(stream), limit)
    return path.stem, Bounded(COMPRESSED[suffix](stream), limit)


def zipped(stream: Any, limit: int) -> Iterator[tuple[str, Bounded]]:
    """Yield name and content of each file in a ZIP archive.

    Raises:
        UnreadableError: it is damaged, encrypted, or holds more than `limit` bytes.
    """
    with zipfile.ZipFile(stream) as archive:
        members = [each for each in archive.infolist() if not each.is_dir()]
        if sum(each.file_size for each in members) > limit:
            raise UnreadableError(f"larger than {limit} bytes when unpacked")
        for member in members:
            if member.flag_bits & 1:
                raise UnreadableError("encrypted")
            with archive.open(member) as file:
                yield member.filename, Bounded(file, limit)


def member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return the content of a file in a ZIP archive.

    Raises:
        KeyError: there is none of that name.
        UnreadableError: it is larger than `limit` bytes.
    """
    with archive.open(name) as file:
        return whole(file, limit)


def whole(stream: Any, limit: int) -> bytes:
    """Return all that a stream gives.

    Raises:
        UnreadableError: it is more than `limit` bytes.
    """
    read = bytearray()
    while data := stream.read(min(2**20, limit + 1)):
        read += data
        if len(read) > limit:
            raise UnreadableError(f"larger than {limit} bytes")
    return bytes(read)


def tarred(stream: Any, limit: int) -> Iterator[tuple[str, Bounded]]:
    """Yield name and content of each plain file in a TAR archive; links and devices are left out."""
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.isfile() and (file := archive.extractfile(member)) is not None:
                yield member.name, Bounded(file, limit)


def lines(stream: Any, longest: int) -> Iterator[Content | UnreadableError]:
    """Yield a document, or what is wrong, for each line of JSON; one longer than `longest` bytes is skipped."""
    buffered = io.BufferedReader(stream) if isinstance(stream, io.RawIOBase) else stream
    while line := buffered.readline(longest + 1):
        if len(line) > longest:
            while line and not line.endswith(b"\n"):
                line = buffered.readline(longest + 1)
            yield UnreadableError(f"a line longer than {longest} bytes")
        elif line.strip():
            yield _row(line)


def _row(line: bytes) -> Content | UnreadableError:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return UnreadableError("not JSON")
    return content(row) if isinstance(row, dict) else UnreadableError("no JSON object")


def content(row: dict[str, Any]) -> Content | UnreadableError:
    """Return the document that a row describes, by the usual names of columns."""
    text = next((row[name] for name in TEXT_COLUMNS if isinstance(row.get(name), str)), None)
    if text is None:
        return UnreadableError(f"no column of text ({', '.join(TEXT_COLUMNS)})")
    title, url = row.get("title"), row.get("url")
    when = next((found for name in DATE_COLUMNS if (found := dates.parsed(row.get(name)))), None)
    return Content(text, title if isinstance(title, str) else None, url if isinstance(url, str) else None, when)


def table(stream: Any) -> Iterator[Content | UnreadableError]:
    """Yield a document, or what is wrong, for each row of a Parquet file, a batch of rows in memory at a time."""
    file = pq.ParquetFile(stream)
    names = [name for name in (*TEXT_COLUMNS, *DATE_COLUMNS, "title", "url") if name in file.schema_arrow.names]
    if not set(names) & set(TEXT_COLUMNS):
        raise UnreadableError(f"no column of text ({', '.join(TEXT_COLUMNS)})")
    for batch in file.iter_batches(batch_size=256, columns=names):
        yield from map(content, batch.to_pylist())
