"""Decompression of web archives; a damaged gzip member yields a gap, and reading continues at the next member."""

import re
import zlib
from collections.abc import Generator, Iterator
from typing import Any

from fastwarc.stream_io import Lz4Reader, ZstdReader

GAP = b""
"""Marker among blocks for bytes that could not be decompressed."""
_BLOCK = 2**16
_UNVERIFIED = 2**15  # bytes (deflate's window) discarded before damage: output is corrupt before decoding fails
_MEMBER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")
_READERS = {b"\x28\xb5\x2f\xfd": ZstdReader, b"\x04\x22\x4d\x18": Lz4Reader}


def blocks(stream: Any) -> Iterator[bytes]:
    """Yield decompressed blocks of a seekable stream by its magic bytes, and a `GAP` for damaged data."""
    start = stream.read(4)
    stream.seek(0)
    if _MEMBER.match(start):
        yield from _gzip(stream)
        return
    source = _READERS[start](stream) if start in _READERS else stream
    try:
        while block := source.read(_BLOCK):
            yield block
    except OSError:
        yield GAP


def _gzip(stream: Any) -> Iterator[bytes]:
    start: int | None = 0
    while start is not None:
        stream.seek(start)
        if not (data := stream.read(_BLOCK)):
            return
        if padding := len(data) - len(data.lstrip(b"\0")):
            start += padding
            continue
        size = yield from _member(data, stream)
        if size is None:
            yield GAP
        start = start + size if size else _next_member(stream, start + 1)


def _member(data: bytes, stream: Any) -> Generator[bytes, None, int | None]:
    """Yield the content of the member that begins with `data`; return its size, or None if it is damaged."""
    member, size = zlib.decompressobj(wbits=31), 0
    while data:
        before = member.copy()
        try:
            unpacked = member.decompress(data, _BLOCK)
        except zlib.error:
            yield from _up_to_damage(before, data)
            return None
        if unpacked:
            yield unpacked
        rest = member.unused_data if member.eof else member.unconsumed_tail
        size += len(data) - len(rest)
        if member.eof:
            return size
        data = rest or stream.read(_BLOCK)
    return None


def _up_to_damage(member: Any, data: bytes) -> Iterator[bytes]:
    """Yield the readable part of a damaged block, without its last 32 KiB, which may be corrupt."""
    unpacked = bytearray()
    for at in range(len(data)):
        try:
            unpacked += member.decompress(data[at : at + 1])
        except zlib.error:
            break
    if len(unpacked) > _UNVERIFIED:
        yield bytes(unpacked[:-_UNVERIFIED])


def _next_member(stream: Any, start: int) -> int | None:
    """Return the offset of the first member at or after `start`, or None."""
    stream.seek(start)
    data = stream.read(_BLOCK)
    while not (found := _MEMBER.search(data)):
        if not (block := stream.read(_BLOCK)):
            return None
        start += len(data) - len(data[-3:])
        data = data[-3:] + block
    return start + found.start()
