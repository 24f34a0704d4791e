"""The response cache: every usable answer of a model, kept indefinitely in SQLite, so that none is paid for twice.

A row is committed before its answer is parsed. A killed process loses nothing that was committed (WAL); a power cut
may lose the last few rows, never the file. Failures are counted separately, with their cost, and are never served.
"""

import hashlib
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.llm.calls import Answer, Call, Failure, Reply, Teacher
from pipelines.llm.calls import key as call_key
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
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost REAL NOT NULL,
    PRIMARY KEY (key, reason)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uses (
    model TEXT NOT NULL, what TEXT NOT NULL, hits INTEGER NOT NULL, PRIMARY KEY (model, what)
) WITHOUT ROWID;
"""
_PATIENCE = 60.0  # seconds to wait for another process to release the database
_TOOK = ("prompt_tokens", "completion_tokens", "cost")
_NOTHING = (0, 0, 0, 0.0)
_AT_ONCE = 500  # keys per query


@dataclass(frozen=True)
class Use:
    """The calls to one model for one kind of work."""

    model: str
    what: str
    answers: int
    hits: int
    """Answers served from the cache instead of being requested again."""
    prompt_tokens: int
    completion_tokens: int
    cost: float
    failures: dict[str, int]


class ResponseCache:
    """The open database. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        """Open `path`, creating it if necessary.

        Raises:
            UserError: the file is not a database, or is damaged.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._readable():
            self.database = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
            self.database.text_factory = lambda stored: stored.decode(errors="replace")
            self.database.execute("PRAGMA journal_mode=WAL")
            self.database.execute("PRAGMA synchronous=NORMAL")
            self.database.executescript(_TABLES)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def find(self, keys: Iterable[str]) -> dict[str, Answer]:
        """Return the cached answers by key, without their token counts and cost."""
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
        """Count a call without a usable answer, with its tokens and cost."""
        row = (key, model, what, encodable(reason), prompt_tokens, completion_tokens, cost)
        sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in ("times", *_TOOK))
        with self._readable():
            self.database.execute(
                f"INSERT INTO failures (key, model, what, reason, times, {', '.join(_TOOK)}) "
                f"VALUES (?, ?, ?, ?, 1, ?, ?, ?) ON CONFLICT (key, reason) DO UPDATE SET {sums}",
                row,
            )

    def used(self, model: str, what: str, hits: int) -> None:
        """Count answers served from the cache."""
        with self._readable():
            self.database.execute(
                "INSERT INTO uses VALUES (?, ?, ?) ON CONFLICT (model, what) DO UPDATE SET hits = hits + excluded.hits",
                (model, what, hits),
            )

    def summary(self) -> list[Use]:
        """Return the calls to every model by kind of work; failures count towards the cost."""
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
        uses = []
        for work in sorted(answered.keys() | hits.keys() | reasons.keys()):
            pairs = zip(answered.get(work, _NOTHING), failed.get(work, _NOTHING), strict=True)
            count, prompts, completions, cost = (one + other for one, other in pairs)
            (taken,) = hits.get(work, (0,))
            uses.append(Use(*work, count, taken, prompts, completions, cost, reasons.get(work, {})))
        return uses

    def _by_work(self, query: str) -> dict[tuple[str, str], list[Any]]:
        return {(model, what): numbers for model, what, *numbers in self.database.execute(query)}

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn database corruption into a UserError."""
        try:
            yield
        except sqlite3.OperationalError:
            raise  # locked for too long, or a full disk: reported elsewhere
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"The response cache {self.path} is damaged ({error}); move it away, and its calls are made again."
            ) from error


class CachedModel:
    """A teacher behind the response cache: only calls without a cached answer reach the model."""

    def __init__(self, teacher: Teacher, store: ResponseCache, name: str, revision: str, seed: int) -> None:
        """Wrap `teacher`, whose model is `name` at `revision`."""
        self.teacher, self.store, self.name, self.revision, self.seed = teacher, store, name, revision, seed
        self.instructed = teacher.instructed
        self.counts: Counter[str] = Counter()
        self.cost = 0.0

    def ask(self, calls: Sequence[Call], what: str) -> list[Reply]:
        """Answer every call, in order; identical calls are sent once."""
        keys = self._keys(calls)
        answers = self.store.find(keys)
        hits = sum(each in answers for each in keys)
        failed: dict[str, Reply] = {}
        first = {each: place for place, each in reversed(list(enumerate(keys)))}
        wanted = {place: each for each, place in sorted(first.items(), key=lambda pair: pair[1]) if each not in answers}

        def keep(place: int, answer: Answer | Failure) -> None:
            self.cost += answer.cost
            if isinstance(answer, Answer):
                self.store.keep(keys[place], self.name, what, answer)
                answers[keys[place]] = answer
                self.counts["paid"] += 1
            else:
                took = answer.prompt_tokens, answer.completion_tokens, answer.cost
                self.store.failed(keys[place], self.name, what, answer.reason, *took)
                failed[keys[place]] = Reply(None, answer.reason)
                self.counts["failed"] += 1

        self.store.used(self.name, what, hits)
        self.counts["kept"] += hits
        self.teacher.count_cached(what, hits)
        if wanted:
            self.teacher.answer(calls, wanted, what, keep)
        lost = Reply(None, "no_answer")
        return [self._read(answers[each]) if each in answers else failed.get(each, lost) for each in keys]

    def _read(self, answer: Answer) -> Reply:
        return replace(self.teacher.read(answer.raw), certainty=answer.certainty)

    def _keys(self, calls: Sequence[Call]) -> list[str]:
        alone = [call_key(call, self.name, self.revision, self.seed) for call in calls]
        if not self.teacher.batch_dependent:
            return alone
        beside = hashlib.sha256("".join(alone).encode()).hexdigest()
        return [call_key(call, self.name, self.revision, self.seed, beside) for call in calls]
