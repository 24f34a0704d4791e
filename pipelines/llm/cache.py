"""The store of calls: every usable answer that a model gave, kept for ever in SQLite, so that none is paid for twice.

A row is committed before its answer is read. A killed process loses nothing that was committed (WAL); a power cut may
lose the last few rows, never the file. Failures are counted apart, with what they cost, and answer no later call.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.llm.calls import Answer
from pipelines.runtime.errors import UserError
from pipelines.text.encoding import encodable

PATH = Path("calls/calls.db")

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, what TEXT NOT NULL, raw TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost REAL NOT NULL, at REAL NOT NULL,
    certainty REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (
    key TEXT NOT NULL, model TEXT NOT NULL, what TEXT NOT NULL, reason TEXT NOT NULL, times INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0,
    cost REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (key, reason)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uses (
    model TEXT NOT NULL, what TEXT NOT NULL, hits INTEGER NOT NULL, PRIMARY KEY (model, what)
) WITHOUT ROWID;
"""
_LATER = (  # columns that older stores lack
    ("answers", "certainty", "REAL"),
    ("failures", "prompt_tokens", "INTEGER NOT NULL DEFAULT 0"),
    ("failures", "completion_tokens", "INTEGER NOT NULL DEFAULT 0"),
    ("failures", "cost", "REAL NOT NULL DEFAULT 0"),
)
_PATIENCE = 60.0  # seconds for another process to let go of the file
_TOOK = ("prompt_tokens", "completion_tokens", "cost")
_NOTHING = (0, 0, 0, 0.0)
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


class ResponseCache:
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
            self.database.text_factory = lambda stored: stored.decode(errors="replace")
            self.database.execute("PRAGMA journal_mode=WAL")
            self.database.execute("PRAGMA synchronous=NORMAL")
            self.database.executescript(_TABLES)
            for table, column, kind in _LATER:
                if column not in {row[1] for row in self.database.execute(f"PRAGMA table_info({table})")}:
                    self.database.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")

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
        row = (key, model, what, encodable(answer.raw), *took, answer.certainty)
        with self._readable():
            self.database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def failed(
        self,
        key: str,
        model: str,
        what: str,
        reason: str,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        cost: float = 0.0,
    ) -> None:
        """Count a call that got no usable answer, and what it took."""
        row = (key, model, what, encodable(reason), prompt_tokens, completion_tokens, cost)
        sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in ("times", *_TOOK))
        with self._readable():
            self.database.execute(
                f"INSERT INTO failures (key, model, what, reason, times, {', '.join(_TOOK)}) "
                f"VALUES (?, ?, ?, ?, 1, ?, ?, ?) ON CONFLICT (key, reason) DO UPDATE SET {sums}",
                row,
            )

    def used(self, model: str, what: str, hits: int) -> None:
        """Count answers that were taken from the store."""
        with self._readable():
            self.database.execute(
                "INSERT INTO uses VALUES (?, ?, ?) ON CONFLICT (model, what) DO UPDATE SET hits = hits + excluded.hits",
                (model, what, hits),
            )

    def summary(self) -> list[Use]:
        """Return what every model was asked, by kind of work; failures cost, too."""
        sums = ", ".join(f"SUM({name})" for name in _TOOK)
        with self._readable():
            answered = self._by_work(f"SELECT model, what, COUNT(*), {sums} FROM answers GROUP BY model, what")
            failed = self._by_work(f"SELECT model, what, 0, {sums} FROM failures GROUP BY model, what")
            hits = self._by_work("SELECT model, what, hits FROM uses")
            reasons: dict[tuple[str, str], dict[str, int]] = {}
            for model, what, reason, times in self.database.execute(
                "SELECT model, what, reason, SUM(times) FROM failures GROUP BY model, what, reason"
            ):
                reasons.setdefault((model, what), {})[reason] = times
        found = []
        for work in sorted(answered.keys() | hits.keys() | reasons.keys()):
            pairs = zip(answered.get(work, _NOTHING), failed.get(work, _NOTHING), strict=True)
            count, prompts, completions, cost = (one + other for one, other in pairs)
            (taken,) = hits.get(work, (0,))
            found.append(Use(*work, count, taken, prompts, completions, cost, reasons.get(work, {})))
        return found

    def _by_work(self, query: str) -> dict[tuple[str, str], list[Any]]:
        return {(model, what): numbers for model, what, *numbers in self.database.execute(query)}

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
