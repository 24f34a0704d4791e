"""Containers of files: archives and compressed files.

Everything is read as a stream and nothing is written to disk, which rules out path traversal. The decompressed size is
bounded, which rules out decompression bombs.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from pipelines.data.documents import UnreadableError

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
