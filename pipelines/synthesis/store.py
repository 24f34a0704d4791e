"""The store of calls: every answer that a model gave, kept for ever in SQLite, so that none is asked or paid for twice.

A row is committed before its answer is read. A killed process loses nothing that was committed (WAL); a power cut may
lose the last few rows, never the file. Failures are counted apart, and answer no later call.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.synthesis.calls import Answer

PATH = Path("calls/calls.db")

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, what TEXT NOT NULL, raw TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost REAL NOT NULL, at REAL NOT NULL,
    certainty REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (
    key TEXT NOT NULL, model TEXT NOT NULL, what TEXT NOT NULL, reason TEXT NOT NULL, times INTEGER NOT NULL,
    PRIMARY KEY (key, reason)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uses (
    model TEXT NOT NULL, what TEXT NOT NULL, hits INTEGER NOT NULL, PRIMARY KEY (model, what)
) WITHOUT ROWID;
"""
_PATIENCE = 60.0  # seconds for another process to let go of the file
_AT_ONCE = 500  # keys in one question to the database


@dataclass(frozen=True)
class Use:
    """What one model was asked for one kind of work."""

    model: str
    what: str
    answers: int
    hits: int
    """Answers that were taken from the store instead of being asked again."""
    prompt_tokens: int
    completion_tokens: int
    cost: float
    failures: dict[str, int]


class Store:
    """The open database. Used by one thread."""

    def __init__(self, path: Path) -> None:
        """Open `path`, or make it.

        Raises:
            UserError: the file is no database, or a damaged one.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._readable():
            self.database = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
            self.database.execute("PRAGMA journal_mode=WAL")
            self.database.execute("PRAGMA synchronous=NORMAL")
            self.database.executescript(_TABLES)
            columns = {row[1] for row in self.database.execute("PRAGMA table_info(answers)")}
            if "certainty" not in columns:  # a store of before it was kept
                self.database.execute("ALTER TABLE answers ADD COLUMN certainty REAL")

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def find(self, keys: Iterable[str]) -> dict[str, Answer]:
        """Return the answers that are kept, by key, without what they took."""
        wanted = list(keys)
        found: dict[str, Answer] = {}
        with self._readable():
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = self.database.execute(f"SELECT key, raw, certainty FROM answers WHERE key IN ({marks})", some)
                found |= {key: Answer(raw, certainty=certainty) for key, raw, certainty in rows}
        return found

    def keep(self, key: str, model: str, what: str, answer: Answer) -> None:
        """Commit an answer."""
        took = answer.prompt_tokens, answer.completion_tokens, answer.cost, time.time()
        row = (key, model, what, answer.raw, *took, answer.certainty)
        with self._readable():
            self.database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def failed(self, key: str, model: str, what: str, reason: str) -> None:
        """Count a call that got no answer."""
        with self._readable():
            self.database.execute(
                "INSERT INTO failures VALUES (?, ?, ?, ?, 1) ON CONFLICT (key, reason) DO UPDATE SET times = times + 1",
                (key, model, what, reason),
            )

    def used(self, model: str, what: str, hits: int) -> None:
        """Count answers that were taken from the store."""
        with self._readable():
            self.database.execute(
                "INSERT INTO uses VALUES (?, ?, ?) ON CONFLICT (model, what) DO UPDATE SET hits = hits + excluded.hits",
                (model, what, hits),
            )

    def summary(self) -> list[Use]:
        """Return what every model was asked, by kind of work."""
        with self._readable():
            sums = "COUNT(*), SUM(prompt_tokens), SUM(completion_tokens), SUM(cost)"
            rows = self.database.execute(f"SELECT model, what, {sums} FROM answers GROUP BY model, what").fetchall()
            hits = self.database.execute("SELECT model, what, hits FROM uses").fetchall()
            failed = self.database.execute(
                "SELECT model, what, reason, SUM(times) FROM failures GROUP BY model, what, reason"
            ).fetchall()
        answered = {(model, what): numbers for model, what, *numbers in rows}
        taken = {(model, what): count for model, what, count in hits}
        reasons: dict[tuple[str, str], dict[str, int]] = {}
        for model, what, reason, times in failed:
            reasons.setdefault((model, what), {})[reason] = times
        found = []
        for model, what in sorted(answered.keys() | taken.keys() | reasons.keys()):
            place = model, what
            count, prompts, completions, cost = answered.get(place, (0, 0, 0, 0.0))
            told = count, taken.get(place, 0), prompts, completions, cost, reasons.get(place, {})
            found.append(Use(model, what, *told))
        return found

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Tell in a sentence of a file that cannot be read as what it should be."""
        try:
            yield
        except sqlite3.OperationalError:
            raise  # locked for too long, or a full disk: told elsewhere
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"The store of calls {self.path} is damaged ({error}); move it away, and what it held is asked again."
            ) from error
