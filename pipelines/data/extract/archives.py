"""Containers of files or rows: archives, compressed files, JSON Lines and Parquet.

Everything is read as a stream and nothing is written to disk, which rules out path traversal. The decompressed size is
bounded, which rules out decompression bombs.
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

from pipelines.data.documents import Content, UnreadableError
from pipelines.data.extract import dates, plain
from pipelines.text.encoding import parse_json

MEDIA = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "text/plain": "text",
    "text/markdown": "markdown",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/epub+zip": "epub",
}
"""Format names of `extract` by media type."""

RATIO = 200  # maximum compression ratio; text compresses by a factor of 3 to 20
DEPTH = 3  # maximum nesting of archives
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
    NotImplementedError,
)
"""Exceptions raised by the libraries for damaged files and unknown compression methods."""
_UNREPRESENTABLE = (ArithmeticError, LookupError, ValueError)
"""Exceptions raised by pyarrow for values that Python cannot represent, such as a five-digit year."""


class Bounded(io.RawIOBase):
    """A stream that raises an error after `limit` bytes."""

    def __init__(self, stream: Any, limit: int) -> None:
        """Wrap `stream`."""
        self.stream, self.limit, self.bytes_read = stream, limit, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`.

        Raises:
            UnreadableError: the stream exceeds the limit.
        """
        data = self.stream.read(len(buffer))
        self.bytes_read += len(data)
        if self.bytes_read > self.limit:
            raise UnreadableError(f"larger than {self.limit} bytes when unpacked")
        buffer[: len(data)] = data
        return len(data)


def _gzip(stream: Any) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=stream)


def _zstd(stream: Any) -> Any:
    return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")


COMPRESSED: dict[str, Callable[[Any], Any]] = {".gz": _gzip, ".zst": _zstd, ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile}


def uncompressed(source: str, stream: Any, limit: int) -> tuple[str, Bounded]:
    """Return the name of a compressed file without its last suffix, and its decompressed content."""
    path = PurePosixPath(source)
    suffix = path.suffix.lower()
    if suffix == ".tgz":
        return f"{path.stem}.tar", Bounded(_gzip(stream), limit)
    return path.stem, Bounded(COMPRESSED[suffix](stream), limit)


def zipped(stream: Any, limit: int) -> Iterator[tuple[str, Bounded | UnreadableError]]:
    """Yield the name and content, or the error, of each file in a ZIP archive.

    Raises:
        UnreadableError: the archive's files exceed `limit` bytes.
    """
    with zipfile.ZipFile(stream) as archive:
        members = [each for each in archive.infolist() if not each.is_dir()]
        if sum(each.file_size for each in members) > limit:
            raise UnreadableError(f"larger than {limit} bytes when unpacked")
        for member in members:
            yield member.filename, _opened(archive, member, limit)


def _opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> Bounded | UnreadableError:
    if member.flag_bits & 1:
        return UnreadableError("encrypted")
    try:
        return Bounded(archive.open(member), limit)
    except DAMAGED as error:
        return UnreadableError(f"damaged: {error}")


def member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return the content of a file in a ZIP archive.

    Raises:
        KeyError: the archive has no file of that name.
        UnreadableError: the file is larger than `limit` bytes.
    """
    with archive.open(name) as file:
        return whole(file, limit)


def whole(stream: Any, limit: int) -> bytes:
    """Read a stream to its end.

    Raises:
        UnreadableError: the stream exceeds `limit` bytes.
    """
    read = bytearray()
    while data := stream.read(min(2**20, limit + 1)):
        read += data
        if len(read) > limit:
            raise UnreadableError(f"larger than {limit} bytes")
    return bytes(read)


def tarred(stream: Any, limit: int) -> Iterator[tuple[str, Bounded]]:
    """Yield the name and content of each regular file in a TAR archive; links and devices are skipped."""
    with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8") as archive:
        for member in archive:
            if member.isfile() and (file := archive.extractfile(member)) is not None:
                yield member.name, Bounded(file, limit)


def lines(stream: Any, longest: int) -> Iterator[Content | UnreadableError]:
    """Yield a document, or an error, for each line of JSON; lines longer than `longest` bytes are skipped."""
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
        row = parse_json(line, parse_int=float)  # numbers are used for dates only; int() rejects over 4,300 digits
    except (json.JSONDecodeError, UnicodeDecodeError):
        return UnreadableError("not JSON")
    except ValueError as error:
        return UnreadableError(str(error))
    return content(row) if isinstance(row, dict) else UnreadableError("no JSON object")


def content(row: dict[str, Any]) -> Content | UnreadableError:
    """Return the document of a row, read from columns with common names."""
    text = next((found for name in TEXT_COLUMNS if (found := _string(row.get(name))) is not None), None)
    if text is None:
        return UnreadableError(f"no column of text ({', '.join(TEXT_COLUMNS)})")
    dated = (row.get(name) for name in DATE_COLUMNS)
    when = next((found for value in dated if (found := dates.parsed(_string(value) or value))), None)
    return Content(text, _string(row.get("title")), _string(row.get("url")), when)


def _string(value: Any) -> str | None:
    """Return a text value, else None; bytes (an untyped Parquet column) are decoded like a text file."""
    try:
        return plain.decode(value) if isinstance(value, bytes) else value if isinstance(value, str) else None
    except UnreadableError:
        return None


def table(stream: Any) -> Iterator[Content | UnreadableError]:
    """Yield a document, or an error, for each row of a Parquet file, with one batch of rows in memory at a time."""
    file = pq.ParquetFile(stream)
    names = [name for name in (*TEXT_COLUMNS, *DATE_COLUMNS, "title", "url") if name in file.schema_arrow.names]
    if not set(names) & set(TEXT_COLUMNS):
        raise UnreadableError(f"no column of text ({', '.join(TEXT_COLUMNS)})")
    for group in range(file.num_row_groups):
        try:
            for batch in file.iter_batches(batch_size=256, row_groups=[group], columns=names):
                columns = {name: _values(batch.column(name)) for name in batch.schema.names}
                yield from map(
                    content, (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
                )
        except DAMAGED as error:
            yield UnreadableError(f"row group {group + 1} is damaged: {error}")


def _values(column: pa.Array) -> list[Any]:
    """Return the cells of a column: None for a time that Python cannot represent, bytes for text that is not UTF-8."""
    try:
        return list(column.to_pylist())
    except _UNREPRESENTABLE:
        return [_value(cell) for cell in column]


def _value(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        return cell.cast(pa.binary()).as_py()
    except _UNREPRESENTABLE:
        return None
