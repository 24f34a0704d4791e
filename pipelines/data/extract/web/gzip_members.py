"""A web archive's bytes, unpacked; where a gzip member is damaged, there is a gap, and the next member follows."""

import re
import zlib
from collections.abc import Generator, Iterator
from typing import Any

from fastwarc.stream_io import Lz4Reader, ZstdReader

GAP = b""
"""Stands among blocks for bytes that could not be unpacked."""
_BLOCK = 2**16
_UNVERIFIED = 2**15  # bytes, deflate's window: what is unpacked goes wrong some time before it cannot go on
_MEMBER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")
_READERS = {b"\x28\xb5\x2f\xfd": ZstdReader, b"\x04\x22\x4d\x18": Lz4Reader}


def blocks(stream: Any) -> Iterator[bytes]:
    """Yield blocks of a seekable stream, unpacked as its first bytes say, and a `GAP` for what is damaged."""
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
    """Yield what a member holds that begins with `data`; return its size, None if it is damaged."""
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
    """Yield what can be unpacked of a block, but for its end, which a wrong checksum may mean."""
    unpacked = bytearray()
    for at in range(len(data)):
        try:
            unpacked += member.decompress(data[at : at + 1])
        except zlib.error:
            break
    if len(unpacked) > _UNVERIFIED:
        yield bytes(unpacked[:-_UNVERIFIED])


def _next_member(stream: Any, start: int) -> int | None:
    """Return where the first member behind `start` begins."""
    stream.seek(start)
    data = stream.read(_BLOCK)
    while not (found := _MEMBER.search(data)):
        if not (block := stream.read(_BLOCK)):
            return None
        start += len(data) - len(data[-3:])
        data = data[-3:] + block
    return start + found.start()
