"""What files gave the last time, so that a corpus that grew by ten documents is read by ten.

A file is known again by its name, its bytes, the limits, and the code and libraries that read it, so that what is
remembered is what reading would give. It lies in .gradus/extracted.db, not in the task's output, which DVC empties
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
    """Remembers what each file of this run gave, and forgets what this run did not ask for."""

    def __init__(self, limits: Limits, place: Path = PLACE) -> None:
        """Open the memory at `place`, made when it is not there."""
        place.parent.mkdir(parents=True, exist_ok=True)
        self.limits, self.place, self.store = limits, place, sqlite3.connect(place)
        self.store.execute("CREATE TABLE IF NOT EXISTS found (key BLOB PRIMARY KEY, value BLOB, used INTEGER)")
        self.store.execute("UPDATE found SET used = 0")

    def key(self, path: Path, folder: Path) -> bytes | None:
        """Return what a file is known by; None when it is too large to be worth it, or cannot be read."""
        try:
            if not path.is_file() or path.stat().st_size > self.limits.max_bytes:
                return None
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            return None
        facts = [readers(), asdict(self.limits), name(path, folder), str(path.resolve().parent), content]
        return hashlib.sha256(json.dumps(facts).encode()).digest()

    def recall(self, key: bytes | None) -> list[Found] | None:
        """Return what a file gave; None when it is not known."""
        row = self.store.execute("SELECT value FROM found WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        self.store.execute("UPDATE found SET used = 1 WHERE key = ?", (key,))
        return list(map(parsed, zlib.decompress(row[0]).decode().splitlines()))

    def keep(self, key: bytes | None, found: Sequence[Found]) -> None:
        """Remember what a file gave."""
        if key is not None:
            value = zlib.compress("\n".join(map(written, found)).encode(), 1)
            self.store.execute("INSERT OR REPLACE INTO found VALUES (?, ?, 1)", (key, value))

    def close(self) -> None:
        """Write it down, without what was not asked for."""
        with closing(self.store), self.store:
            self.store.execute("DELETE FROM found WHERE used = 0")


def written(found: Found) -> str:
    """Return a document or reject as one line of ASCII."""
    return json.dumps(asdict(found))


def parsed(line: str) -> Found:
    """Return what `written` wrote."""
    fields = json.loads(line)
    if "text" not in fields:
        return Reject(**fields)
    return Document(**fields | {"headings": tuple(fields["headings"])})


@cache
def readers() -> str:
    """Return a hash of the code of `ingest` and of the versions of the libraries that it imports."""
    code = Source(PROJECT).code("ingest")
    distributions = packages_distributions()
    used = sorted({name for module in code.libraries for name in distributions.get(module, ())})
    return hashlib.sha256(json.dumps([code.digest, [[name, version(name)] for name in used]]).encode()).hexdigest()
