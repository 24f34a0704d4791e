"""The response cache: answers are found again, also by another process; damage raises a UserError."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.llm.cache import ResponseCache
from pipelines.llm.calls import Answer, Call, key
from pipelines.runtime.errors import UserError

KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.llm.calls import Answer
from pipelines.llm.cache import ResponseCache
ResponseCache(Path(sys.argv[1])).keep("k", "wise", "asking", Answer("yes", 3, 1, 0.5))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_cached_answers_are_found_and_summarised(tmp_path: Path) -> None:
    store = ResponseCache(tmp_path / "calls/calls.db")
    for number in range(1200):
        store.keep(f"k{number}", "wise", "asking", Answer(f"a{number}", 10, 2, 0.25))
    found = store.find([f"k{number}" for number in range(1300)])
    assert len(found) == 1200 and found["k7"] == Answer("a7")
    store.failed("x", "wise", "asking", "timeout")
    store.failed("x", "wise", "asking", "timeout")
    store.failed("y", "wise", "judging", "empty_answer")
    store.used("wise", "asking", 5)
    store.used("wise", "asking", 2)
    judging, asking = sorted(store.summary(), key=lambda use: use.answers)
    assert (asking.answers, asking.hits, asking.prompt_tokens, asking.cost) == (1200, 7, 12000, 300.0)
    assert (asking.failures, judging.failures) == ({"timeout": 2}, {"empty_answer": 1})


def test_answers_survive_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    assert ResponseCache(path).find(["k"]) == {"k": Answer("yes")}


def test_two_connections_can_write(tmp_path: Path) -> None:
    one, other = ResponseCache(tmp_path / "calls.db"), ResponseCache(tmp_path / "calls.db")
    one.keep("a", "wise", "asking", Answer("1"))
    other.keep("b", "wise", "asking", Answer("2", certainty=0.1))
    assert one.find(["a", "b"]) == {"a": Answer("1"), "b": Answer("2", certainty=0.1)}


def test_unencodable_text_is_replaced_on_write_and_read(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    store = ResponseCache(path)
    store.keep("a", "wise", "asking", Answer("half a pair \ud83d"))
    store.failed("b", "wise", "asking", "refused: \udc00")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE answers SET key = 'c', raw = CAST(x'6162ff' AS TEXT)")
    store.keep("a", "wise", "asking", Answer("half a pair \ud83d"))
    assert store.find(["a", "c"]) == {"a": Answer("half a pair \ufffd"), "c": Answer("ab\ufffd")}
    assert store.summary()[0].failures == {"refused: \ufffd": 1}


def test_damaged_database_raises_user_error(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    path.write_bytes(b"this is no database " * 100)
    with pytest.raises(UserError, match=r"calls\.db is damaged .*move it away"):
        ResponseCache(path)


def test_key_depends_on_everything_that_determines_an_answer() -> None:
    asked = [{"role": "user", "content": "Why?"}]
    same = key(Call(asked, 9), "wise", "1", 3)
    assert same == key(Call([{"content": "Why?", "role": "user"}], 9), "wise", "1", 3)
    others = [
        key(Call(asked, 8), "wise", "1", 3),
        key(Call(asked, 9, 0.5), "wise", "1", 3),
        key(Call(asked, 9, sample=1), "wise", "1", 3),
        key(Call(asked, 9, schema={"type": "object"}), "wise", "1", 3),
        key(Call([{"role": "user", "content": "Who?"}], 9), "wise", "1", 3),
        key(Call(asked, 9), "dull", "1", 3),
        key(Call(asked, 9), "wise", "2", 3),
        key(Call(asked, 9), "wise", "1", 4),
        key(Call(asked, 9), "wise", "1", 3, "beside"),
    ]
    assert len({same, *others}) == 10


def test_database_contains_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    store = ResponseCache(tmp_path / "calls.db")
    store.keep("a", "wise", "asking", Answer("1"))
    store.close()
    assert b"sk-very-secret" not in (tmp_path / "calls.db").read_bytes()
    assert sqlite3.connect(tmp_path / "calls.db").execute("SELECT COUNT(*) FROM answers").fetchone() == (1,)
