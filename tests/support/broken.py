"""Malformed files of every kind, and the outcome of extracting them."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

from pipelines.data.extract import worker_pool
from pipelines.data.extract.readers import Found, Limits, Reject, sources
from tests.support.broken_documents import docx, epub, markdown, page, pdf
from tests.support.broken_files import GOOD, Breaker, tar_of_odd_names, tarred, zip_of_odd_names, zipped
from tests.support.broken_rows import rows, table, web_archive, web_archive_gz

LIMITS = Limits(max_bytes=50_000_000, min_characters=200)
WAYS: list[tuple[str, Callable[[Breaker], bytes]]] = [
    ("pdf", lambda b: b.cut(b.a("pdf"))),
    ("pdf", lambda b: b.corrupted(b.a("pdf"))),
    ("pdf", pdf),
    ("zip", lambda b: b.cut(zipped({"a.txt": GOOD}))),
    ("zip", lambda b: b.corrupted(zipped({"a.txt": GOOD}))),
    ("zip", lambda b: zipped({"../../escaped.txt": GOOD})),
    ("zip", zip_of_odd_names),
    ("tar", lambda b: b.cut(tarred("a.txt", GOOD))),
    ("tar", lambda b: tarred("../../escaped.txt", GOOD)),
    ("tar", tar_of_odd_names),
    ("txt.gz", lambda b: b.cut(gzip.compress(GOOD))),
    ("txt", lambda b: bytes(b.random.randrange(1, 5000))),
    ("txt", lambda b: b.noise()),
    ("txt", lambda b: b.encoded(b.text())),
    ("html", lambda b: b.corrupted(b.a("html"))),
    ("html", lambda b: b"<div>" * b.random.randrange(1, 3000)),
    ("html", page),
    ("docx", lambda b: b.corrupted(zipped({"word/document.xml": GOOD}))),
    ("docx", lambda b: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b.noise()),
    ("docx", docx),
    ("epub", lambda b: b.corrupted(zipped({"META-INF/container.xml": GOOD}))),
    ("epub", epub),
    ("parquet", lambda b: b"PAR1" + b.noise() + b"PAR1"),
    ("parquet", table),
    ("jsonl", lambda b: b'{"text": ' + b.noise()),
    ("jsonl", rows),
    ("warc", lambda b: b"WARC/1.0\r\n" + b.noise()),
    ("warc", web_archive),
    ("warc.gz", lambda b: b.corrupted(gzip.compress(b"WARC/1.0\r\nWARC-Type: response\r\n\r\n" * 30))),
    ("warc.gz", web_archive_gz),
    ("md", lambda b: b.corrupted(GOOD)),
    ("md", markdown),
    ("bz2", lambda b: b.noise()),
    ("txt.zst", lambda b: b"\x28\xb5\x2f\xfd" + b.noise()),
    ("xyz", lambda b: GOOD),
]
NAMES = (b" file", b"\nfile", b"m\xe4rz", b"\xff\xfe", "\u2028 \u0645\u0631\u062d".encode(), b"#1?%00", b"x" * 200)


def break_files(folder: Path, count: int, seed: int = 0) -> None:
    """Write `count` malformed files, some with odd names: line breaks, not UTF-8, other scripts, long."""
    breaker = Breaker(seed)
    for number in range(count):
        suffix, make = WAYS[number % len(WAYS)]
        odd = NAMES[number // 13 % len(NAMES)] if number % 13 == 0 else NAMES[0]
        (folder / os.fsdecode(b"%05d%s.%s" % (number, odd, suffix.encode()))).write_bytes(make(breaker))


def read(folder: Path) -> tuple[int, list[Found]]:
    """Return the number of files without an outcome, and the outcomes of the others."""
    each = list(worker_pool.read(sources(folder), folder, LIMITS, 60, 2048))
    return sum(not found for found in each), [one for found in each for one in found]


def encodable(found: Found) -> bool:
    """Return whether all fields of a document or reject can be stored."""
    try:
        json.dumps(vars(found), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def counts(found: list[Found]) -> dict[str, int]:
    """Return the number of files by outcome."""
    rejects = [each for each in found if isinstance(each, Reject)]
    return {
        "documents": len(found) - len(rejects),
        "rejected": len(rejects),
        "failed": sum("its reader " in each.reason for each in rejects),
        "unencodable": sum(not encodable(each) for each in found),
    }
