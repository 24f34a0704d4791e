"""Rows and web archives with unexpected values, types, encodings and headers."""

import gzip
import io
import json
import zlib
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.broken_documents import page
from tests.support.broken_files import DATES, ENCODINGS, GOOD, Breaker

TEXTS = ("text", "content", "body", "document")
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "x-gzip": gzip.compress}


def rows(b: Breaker) -> bytes:
    """Return JSON lines with lone surrogates, dates of all forms, huge numbers, deep nesting and mixed encodings."""
    lines = []
    for _ in range(b.random.randrange(1, 5)):
        row = {
            b.any(TEXTS): b.text(),
            "title": b.any(("A \ud83d", "\udcb2", "\ud83d\ude00", 7, None)),
            "url": b.any(("https://a.example/\ud800", "https://a.example/#/x", "", 3)),
            b.any(("date", "published", "timestamp")): b.any(DATES),
            "n": b.any((1, float("nan"), [{}])),
        }
        odd = b.any(("1", "9" * 5000, "[" * 3000 + "]" * 3000, '1, "text": ""', r'1, "text": "\udc00"'))
        line = json.dumps(row, ensure_ascii=b.sometimes(0.8)).replace('"n": 1', f'"n": {odd}')
        lines.append(b.damaged(b.encoded(line)))
    return bytes(b.any((b"\n", b"\r\n", b"\r", b"\xe2\x80\xa8")).join(lines))


def table(b: Breaker) -> bytes:
    """Return a Parquet file with columns of any type, including timestamps out of range."""
    texts = [b.text(), None, "\ud83d".encode("utf-8", "surrogatepass"), GOOD]
    text = b.any((pa.binary(), pa.large_binary(), pa.list_(pa.binary()), pa.dictionary(pa.int32(), pa.binary())))
    values = [[each] for each in texts] if pa.types.is_list(text) else texts
    units = [pa.timestamp(unit, tz) for unit in ("ms", "us", "ns") for tz in (None, "UTC", "Asia/Tokyo")]
    date = b.any((*units, pa.date32(), pa.date64(), pa.int64(), pa.time64("us"), pa.duration("ns")))
    numbers = [b.any((0, 1998, 20210304, -(2**31), 2**31 - 1, 1612051234, 1612051234567)) for _ in texts]
    if pa.types.is_timestamp(date) and b.sometimes():
        numbers[1] = b.any((2**62, -(2**62)))
    days = pa.array([each % 2**31 for each in numbers], pa.int32()) if date == pa.date32() else pa.array(numbers)
    column = pa.array(values, text)
    if text == pa.binary() and b.sometimes(0.5):
        column = column.view(pa.string())  # one value is not UTF-8
    columns = {b.any(TEXTS): column, "date": days.view(date), "meta": pa.array([{"a": [1]}] * 4)}
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, row_group_size=2, store_schema=b.sometimes(0.5))
    return b.damaged(file.getvalue())


def web_archive(b: Breaker) -> bytes:
    """Return WARC records with correct or wrong encoding headers, sometimes truncated or corrupted."""
    records = [_record(b) for _ in range(b.random.randrange(1, 4))]
    return b.damaged(b"".join(records))


def web_archive_gz(b: Breaker) -> bytes:
    """Return WARC records, each compressed separately."""
    return b.damaged(b"".join(gzip.compress(_record(b)) for _ in range(b.random.randrange(1, 4))))


def _record(b: Breaker) -> bytes:
    packed, sent = b.any(("gzip", "deflate", "br", "x-gzip", "gzip, gzip", "")), b.any(("chunked", "CHUNKED", ""))
    body = b.any((page, lambda b: b.encoded(b.text())))(b)
    if b.sometimes(0.7):
        body = PACK.get(packed, bytes)(body)
    if b.sometimes(0.7) and sent:
        body = b"%x\r\n%s\r\n%s\r\n\r\n" % (len(body), body, b.any((b"0", b"", b"zz")))
    kind = f"{b.any(('text/html', 'text/plain', 'TEXT/HTML'))}; charset={b.any((*ENCODINGS, 'no-such', ''))}"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Encoding: {packed}\r\nTransfer-Encoding: {sent}\r\n\r\n"
    answer = head.encode() + body
    length = len(answer) + b.any((0, 0, 0, 5, -5, 10**9))
    place = b.any((b"https://a.example/", b"https://a.example/m\xe4rz", b"\xff", b"", b"http://[broken"))
    lead = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: %s\r\nWARC-Date: %s\r\n" % (
        place,
        b.any((b"x", b"1998")),
    )
    kind_of_record = b"Content-Type: application/http; msgtype=response\r\nContent-Length: %d\r\n\r\n" % length
    return lead + kind_of_record + answer + b"\r\n\r\n"
