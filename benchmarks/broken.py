"""Broken files of every kind, of which each must end among the documents or among the rejects.

    python benchmarks/broken.py --files 10000    # files, documents, rejected, lost, seconds

The last line is one JSON object; `lost` counts files that ended nowhere.
"""

import argparse
import gzip
import io
import json
import os
import random
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from pipelines.data import reading
from pipelines.data.documents import Document
from pipelines.data.extract import Found, Limits, sources

ROOT = Path(__file__).parents[1]
GOOD = ("The sluice keeper rings the bell twice before the gate is opened. " * 8).encode()
LIMITS = Limits(max_bytes=50_000_000, min_characters=200)


def zipped(name: str, data: bytes) -> bytes:
    """Return a ZIP archive of one file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return file.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    """Return a TAR archive of one file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


class Breaker:
    """Breaks files at random places."""

    def __init__(self, seed: int) -> None:
        """Take real pages and PDFs from the sample corpus."""
        self.random = random.Random(seed)
        self.real = {kind: [path.read_bytes() for path in (ROOT / "data/raw").rglob(f"*.{kind}")] for kind in KINDS}

    def cut(self, data: bytes) -> bytes:
        """Return the beginning of a file."""
        return data[: self.random.randrange(1, len(data))]

    def spoilt(self, data: bytes) -> bytes:
        """Return a file with every fiftieth byte another."""
        changed = bytearray(data)
        for _ in range(max(1, len(data) // 50)):
            changed[self.random.randrange(len(data))] = self.random.randrange(256)
        return bytes(changed)

    def noise(self) -> bytes:
        """Return random bytes."""
        return self.random.randbytes(self.random.randrange(1, 5000))

    def a(self, kind: str) -> bytes:
        """Return a real file."""
        return self.random.choice(self.real[kind])


KINDS = ("html", "pdf")
WAYS: list[tuple[str, Callable[[Breaker], bytes]]] = [
    ("pdf", lambda b: b.cut(b.a("pdf"))),
    ("pdf", lambda b: b.spoilt(b.a("pdf"))),
    ("zip", lambda b: b.cut(zipped("a.txt", GOOD))),
    ("zip", lambda b: b.spoilt(zipped("a.txt", GOOD))),
    ("zip", lambda b: zipped("../../escaped.txt", GOOD)),
    ("tar", lambda b: b.cut(tarred("a.txt", GOOD))),
    ("tar", lambda b: tarred("../../escaped.txt", GOOD)),
    ("txt.gz", lambda b: b.cut(gzip.compress(GOOD))),
    ("txt", lambda b: bytes(b.random.randrange(1, 5000))),
    ("txt", lambda b: b.noise()),
    ("html", lambda b: b.spoilt(b.a("html"))),
    ("html", lambda b: b"<div>" * b.random.randrange(1, 3000)),
    ("docx", lambda b: b.spoilt(zipped("word/document.xml", GOOD))),
    ("epub", lambda b: b.spoilt(zipped("META-INF/container.xml", GOOD))),
    ("parquet", lambda b: b"PAR1" + b.noise() + b"PAR1"),
    ("jsonl", lambda b: b'{"text": ' + b.noise()),
    ("warc", lambda b: b"WARC/1.0\r\n" + b.noise()),
    ("warc.gz", lambda b: b.spoilt(gzip.compress(b"WARC/1.0\r\nWARC-Type: response\r\n\r\n" * 30))),
    ("md", lambda b: b.spoilt(GOOD)),
    ("bz2", lambda b: b.noise()),
    ("txt.zst", lambda b: b"\x28\xb5\x2f\xfd" + b.noise()),
    ("xyz", lambda b: GOOD),
]


def break_files(folder: Path, count: int, seed: int = 0) -> None:
    """Write `count` broken files, some with a line break in their names."""
    breaker = Breaker(seed)
    for number in range(count):
        suffix, make = WAYS[number % len(WAYS)]
        between = "\n" if number % 97 == 0 else " "
        (folder / f"{number:05}{between}file.{suffix}").write_bytes(make(breaker))


def add_giants(folder: Path) -> None:
    """Write what is broken by its size: a deep page, a long line, a bomb; and a link out of the folder."""
    (folder / "deep.html").write_bytes(b"<div>" * 100_000 + GOOD)
    (folder / "long.jsonl").write_bytes(b'{"text": "' + b"x" * 200_000_000 + b'"}')
    (folder / "bomb.txt.gz").write_bytes(gzip.compress(bytes(300_000_000)))
    (folder / "out.txt").symlink_to("/etc/passwd")


def read(folder: Path) -> tuple[int, list[Found]]:
    """Return how many files ended nowhere, and what the others gave."""
    each = list(reading.read(sources(folder), folder, LIMITS, 60, 2048))
    return sum(not found for found in each), [one for found in each for one in found]


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
        documents = sum(isinstance(each, Document) for each in found)
        result = {"files": wanted.files + 4, "documents": documents, "rejected": len(found) - documents, "lost": lost}
        print(json.dumps({**result, "seconds": round(time.monotonic() - began, 1)}))
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
