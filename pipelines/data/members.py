"""A web archive's bytes, unpacked; where a gzip member is damaged, there is a gap, and the next member follows."""

import re
import zlib
from collections.abc import Iterator
from typing import Any

from fastwarc.stream_io import Lz4Reader, ZstdReader

GAP = b""
"""Stands among blocks for bytes that could not be unpacked."""
_BLOCK = 2**16
_UNVERIFIED = 64  # bytes; more than the line ends behind a record, so that it is torn
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
    data = stream.read(_BLOCK)
    while data:
        member = zlib.decompressobj(wbits=31)
        while not member.eof and data:
            before = member.copy()
            try:
                unpacked = member.decompress(data, _BLOCK)
            except zlib.error:
                yield from _up_to_damage(before, data)
                data = _next_member(data, stream)
                break
            if unpacked:
                yield unpacked
            data = member.unused_data if member.eof else member.unconsumed_tail or stream.read(_BLOCK)
        else:
            if not member.eof:
                yield GAP
            data = data.lstrip(b"\0") or stream.read(_BLOCK)


def _up_to_damage(member: Any, data: bytes) -> Iterator[bytes]:
    """Yield what can be unpacked of a block, but for its end, which a wrong checksum may mean, and a gap."""
    unpacked = bytearray()
    for at in range(len(data)):
        try:
            unpacked += member.decompress(data[at : at + 1])
        except zlib.error:
            break
    if len(unpacked) > _UNVERIFIED:
        yield bytes(unpacked[:-_UNVERIFIED])
    yield GAP


def _next_member(data: bytes, stream: Any) -> bytes:
    """Return the data from where the next member begins."""
    found = _MEMBER.search(data, 1)
    while not found:
        block = stream.read(_BLOCK)
        if not block:
            return b""
        data = data[-3:] + block
        found = _MEMBER.search(data)
    return data[found.start() :]
