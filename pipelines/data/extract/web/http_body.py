"""HTTP body decoding for web archives, which store bodies either with the declared encodings or already decoded."""

import re
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any

from fastwarc.stream_io import BrotliReader, ZstdReader

from pipelines.data.documents import UnreadableError
from pipelines.data.extract.archives import whole

_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_LINE_END = re.compile(rb"\r?\n|$")


def decoded(body: bytes, encodings: str, longest: int) -> bytes:
    """Undo comma-separated encodings in reverse order; encodings that the body does not have are ignored.

    Raises:
        UnreadableError: the body is truncated, damaged or larger than `longest` bytes.
    """
    for name in reversed([token.strip().lower() for token in encodings.split(",")]):
        if decoder := _DECODERS.get(name):
            body = decoder(body, longest)
    if len(body) > longest:
        raise UnreadableError(f"larger than {longest} bytes")
    return body


def _unzipped(body: bytes, longest: int) -> bytes:
    """Undo gzip and deflate; servers send deflate both with and without a zlib header."""
    for wbits in (47, -15):
        unzip = zlib.decompressobj(wbits)
        try:
            data = unzip.decompress(body, longest + 1)
        except zlib.error:
            continue
        if unzip.eof or len(data) > longest:
            return data
    if body.startswith(b"\x1f\x8b"):
        raise UnreadableError("damaged: its gzip encoding")
    return body


def _by_reader(reader: Callable[[BytesIO], Any], body: bytes, longest: int) -> bytes:
    try:
        return whole(reader(BytesIO(body)), longest)
    except OSError:
        return body


def _unchunked(body: bytes, _: int) -> bytes:
    """Join chunks (RFC 9112, section 7.1); only the empty last chunk may be missing."""
    data, at = bytearray(), 0
    while head := _CHUNK.match(body, at):
        size, at = int(head[1], 16), head.end()
        if not size:
            return bytes(data)
        if at + size > len(body) or (data and not _LINE_END.match(body, at + size)):
            raise UnreadableError("damaged: its chunked encoding")
        if not (end := _LINE_END.match(body, at + size)):
            return body
        data += body[at : at + size]
        at = end.end()
    if data and at < len(body):
        raise UnreadableError("damaged: its chunked encoding")
    return bytes(data) if data else body


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    **dict.fromkeys(("gzip", "x-gzip", "deflate"), _unzipped),
    "br": partial(_by_reader, BrotliReader),
    "zstd": partial(_by_reader, ZstdReader),
    "chunked": _unchunked,
}
