"""Broken and odd files of every kind, of which each must end among the documents or among the rejects.

    python benchmarks/broken.py --files 10000    # files, documents, rejected, failed, lost, unencodable, seconds

The last line is one JSON object. `failed` counts rejects for which a reader raised an error that it does not know,
`lost` files that ended nowhere, `unencodable` documents and rejects with a string that cannot be stored.
"""

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.broken_documents import docx, epub, markdown, page, pdf
from benchmarks.broken_files import GOOD, ROOT, Breaker, tar_of_odd_names, tarred, zip_of_odd_names, zipped
from benchmarks.broken_rows import rows, table, web_archive, web_archive_gz
from pipelines.data.extract import worker_pool
from pipelines.data.extract.readers import Found, Limits, Reject, sources

LIMITS = Limits(max_bytes=50_000_000, min_characters=200)
WAYS: list[tuple[str, Callable[[Breaker], bytes]]] = [
    ("pdf", lambda b: b.cut(b.a("pdf"))),
    ("pdf", lambda b: b.spoilt(b.a("pdf"))),
    ("pdf", pdf),
    ("zip", lambda b: b.cut(zipped({"a.txt": GOOD}))),
    ("zip", lambda b: b.spoilt(zipped({"a.txt": GOOD}))),
    ("zip", lambda b: zipped({"../../escaped.txt": GOOD})),
    ("zip", zip_of_odd_names),
    ("tar", lambda b: b.cut(tarred("a.txt", GOOD))),
    ("tar", lambda b: tarred("../../escaped.txt", GOOD)),
    ("tar", tar_of_odd_names),
    ("txt.gz", lambda b: b.cut(gzip.compress(GOOD))),
    ("txt", lambda b: bytes(b.random.randrange(1, 5000))),
    ("txt", lambda b: b.noise()),
    ("txt", lambda b: b.encoded(b.text())),
    ("html", lambda b: b.spoilt(b.a("html"))),
    ("html", lambda b: b"<div>" * b.random.randrange(1, 3000)),
    ("html", page),
    ("docx", lambda b: b.spoilt(zipped({"word/document.xml": GOOD}))),
    ("docx", lambda b: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b.noise()),
    ("docx", docx),
    ("epub", lambda b: b.spoilt(zipped({"META-INF/container.xml": GOOD}))),
    ("epub", epub),
    ("parquet", lambda b: b"PAR1" + b.noise() + b"PAR1"),
    ("parquet", table),
    ("jsonl", lambda b: b'{"text": ' + b.noise()),
    ("jsonl", rows),
    ("warc", lambda b: b"WARC/1.0\r\n" + b.noise()),
    ("warc", web_archive),
    ("warc.gz", lambda b: b.spoilt(gzip.compress(b"WARC/1.0\r\nWARC-Type: response\r\n\r\n" * 30))),
    ("warc.gz", web_archive_gz),
    ("md", lambda b: b.spoilt(GOOD)),
    ("md", markdown),
    ("bz2", lambda b: b.noise()),
    ("txt.zst", lambda b: b"\x28\xb5\x2f\xfd" + b.noise()),
    ("xyz", lambda b: GOOD),
]
NAMES = (b" file", b"\nfile", b"m\xe4rz", b"\xff\xfe", "\u2028 \u0645\u0631\u062d".encode(), b"#1?%00", b"x" * 200)


def break_files(folder: Path, count: int, seed: int = 0) -> None:
    """Write `count` odd files, some under odd names: with line breaks, not in UTF-8, of other scripts, long."""
    breaker = Breaker(seed)
    for number in range(count):
        suffix, make = WAYS[number % len(WAYS)]
        odd = NAMES[number // 13 % len(NAMES)] if number % 13 == 0 else NAMES[0]
        (folder / os.fsdecode(b"%05d%s.%s" % (number, odd, suffix.encode()))).write_bytes(make(breaker))


def add_giants(folder: Path) -> None:
    """Write what is broken by its size: a deep page, a long line, a bomb; and a link out of the folder."""
    (folder / "deep.html").write_bytes(b"<div>" * 100_000 + GOOD)
    (folder / "long.jsonl").write_bytes(b'{"text": "' + b"x" * 200_000_000 + b'"}')
    (folder / "bomb.txt.gz").write_bytes(gzip.compress(bytes(300_000_000)))
    (folder / "out.txt").symlink_to("/etc/passwd")


def read(folder: Path) -> tuple[int, list[Found]]:
    """Return how many files ended nowhere, and what the others gave."""
    each = list(worker_pool.read(sources(folder), folder, LIMITS, 60, 2048))
    return sum(not found for found in each), [one for found in each for one in found]


def encodable(found: Found) -> bool:
    """Say whether all that is stored of a document or reject can be."""
    try:
        json.dumps(vars(found), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def counts(found: list[Found]) -> dict[str, int]:
    """Return what became of the files."""
    rejects = [each for each in found if isinstance(each, Reject)]
    return {
        "documents": len(found) - len(rejects),
        "rejected": len(rejects),
        "failed": sum("its reader " in each.reason for each in rejects),
        "unencodable": sum(not encodable(each) for each in found),
    }


def main() -> None:
    """Run what the command line says; print one line of JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as elsewhere:
        break_files(Path(folder), wanted.files)
        add_giants(Path(folder))
        os.chdir(elsewhere)  # no memory of an earlier run
        began = time.monotonic()
        lost, found = read(Path(folder))
        result = {"files": wanted.files + 4, **counts(found), "lost": lost}
        print(json.dumps({**result, "seconds": round(time.monotonic() - began, 1)}))
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
