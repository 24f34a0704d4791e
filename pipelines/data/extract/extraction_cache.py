"""Extraction cache: results by file, so that a corpus with ten new documents is read by extracting ten files.

The key covers a file's name, its bytes, the limits, and the code and library versions of the readers, so a cached
result equals a fresh one. The cache is in .gradus/extracted.db rather than in the task's output, which DVC empties
before each run.
"""

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pipelines
from pipelines.data.documents import Document
from pipelines.data.extract.readers import Found, Limits, Reject, name
from pipelines.runtime.fingerprint import Source

PLACE = Path(".gradus/extracted.db")
PROJECT = Path(pipelines.__file__).parents[1]


class ExtractionCache:
    """Cache of extraction results; entries that this run did not use are removed on close."""

    def __init__(self, limits: Limits, place: Path = PLACE) -> None:
        """Open the cache at `place`, creating it if it does not exist."""
        place.parent.mkdir(parents=True, exist_ok=True)
        self.limits, self.place, self.database = limits, place, sqlite3.connect(place)
        self.database.execute("CREATE TABLE IF NOT EXISTS found (key BLOB PRIMARY KEY, value BLOB, used INTEGER)")
        self.database.execute("UPDATE found SET used = 0")

    def key(self, path: Path, folder: Path) -> bytes | None:
        """Return the cache key of a file, or None if it is larger than `max_bytes` or cannot be read."""
        try:
            if not path.is_file() or path.stat().st_size > self.limits.max_bytes:
                return None
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            return None
        facts = [readers(), asdict(self.limits), name(path, folder), str(path.resolve().parent), content]
        return hashlib.sha256(json.dumps(facts).encode()).digest()

    def get(self, key: bytes | None) -> list[Found] | None:
        """Return the cached result of a file, or None if it is not cached."""
        row = self.database.execute("SELECT value FROM found WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        self.database.execute("UPDATE found SET used = 1 WHERE key = ?", (key,))
        return list(map(parsed, zlib.decompress(row[0]).decode().splitlines()))

    def put(self, key: bytes | None, found: Sequence[Found]) -> None:
        """Cache the result of a file."""
        if key is not None:
            value = zlib.compress("\n".join(map(written, found)).encode(), 1)
            self.database.execute("INSERT OR REPLACE INTO found VALUES (?, ?, 1)", (key, value))

    def close(self) -> None:
        """Remove unused entries, commit and close."""
        with closing(self.database), self.database:
            self.database.execute("DELETE FROM found WHERE used = 0")


def written(found: Found) -> str:
    """Serialize a document or reject as one line of ASCII JSON."""
    return json.dumps(asdict(found))


def parsed(line: str) -> Found:
    """Parse a line produced by `written`."""
    fields = json.loads(line)
    if "text" not in fields:
        return Reject(**fields)
    return Document(**fields | {"headings": tuple(fields["headings"])})


@cache
def readers() -> str:
    """Return a hash of the code of `ingest` and the versions of the libraries it imports."""
    code = Source(PROJECT).code("ingest")
    distributions = packages_distributions()
    used = sorted({name for module in code.libraries for name in distributions.get(module, ())})
    return hashlib.sha256(json.dumps([code.digest, [[name, version(name)] for name in used]]).encode()).hexdigest()
