"""Worker pool with files that exceed time or memory limits or crash their reader."""

import json
from pathlib import Path
from typing import Any

import pytest
from pebble import ProcessPool

from pipelines.data.documents import Document
from pipelines.data.extract import extraction_cache, readers, worker_pool
from pipelines.data.extract.readers import Limits, Reject, sources
from tests.support.broken import WAYS, break_files, counts
from tests.support.broken import read as read_broken

pytestmark = pytest.mark.slow

TEXT = "The sluice keeper rings the bell twice before the gate is opened. " * 5


def read(folder: Path, seconds: float = 30.0, megabytes: int = 1024) -> dict[str, str]:
    """Return the rejection reason by file name, empty for documents."""
    read = worker_pool.read(sources(folder), folder, Limits(300_000_000, 100), seconds, megabytes)
    return {one.source: one.reason if isinstance(one, Reject) else "" for found in read for one in found}


@pytest.fixture(autouse=True)
def project(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a working directory without a cache."""
    monkeypatch.chdir(tmp_path_factory.mktemp("project"))


def test_only_new_and_changed_files_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    schedule = ProcessPool.schedule

    def noted(self: ProcessPool, function: Any, args: Any, **more: Any) -> Any:
        asked.append(args[0].name)
        return schedule(self, function, args=args, **more)

    monkeypatch.setattr(ProcessPool, "schedule", noted)
    for name in ("a.txt", "b.txt", "short.txt"):
        (tmp_path / name).write_text(TEXT if name != "short.txt" else "x")
    first = read(tmp_path)
    assert asked == ["a.txt", "b.txt", "short.txt"] and first["short.txt"].startswith("less than")
    asked.clear()
    (tmp_path / "a.txt").write_text(TEXT + "Changed.")
    (tmp_path / "c.txt").write_text(TEXT)
    assert read(tmp_path) == {**first, "c.txt": ""}
    assert asked == ["a.txt", "c.txt"]
    asked.clear()
    monkeypatch.setattr(extraction_cache, "readers", lambda: "another version of a library")
    read(tmp_path)
    assert len(asked) == 4


def test_files_are_returned_in_order(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text(TEXT * (1 + 997 * number % 50))
    assert list(read(tmp_path)) == [f"{number:02}.txt" for number in range(20)]


@pytest.mark.e2e
def test_file_over_time_or_memory_limit_affects_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.txt", "z.txt"):
        (tmp_path / name).write_text(TEXT)
    (tmp_path / "large.txt").write_text("x" * 250_000_000)
    (tmp_path / "deep.html").write_text("<div>" * 100_000 + TEXT)
    found = read(tmp_path, seconds=12, megabytes=300)
    assert found["a.txt"] == found["z.txt"] == ""
    assert found["large.txt"] == "took more than 300 MiB to read"
    assert found.keys() == {"a.txt", "z.txt", "large.txt", "deep.html"}
    monkeypatch.setattr(worker_pool, "BYTES_PER_SECOND", 1e12)
    (tmp_path / "large.txt").unlink()
    (tmp_path / "wide.html").write_text("<p>word</p>" * 3_000_000)
    found = read(tmp_path, seconds=0.5)
    assert found["wide.html"].startswith("took longer than")
    assert found["z.txt"] == ""


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    (found,) = next(worker_pool.read([path], tmp_path, Limits(10**6, 100), 30, 512))
    assert isinstance(found, Reject) and "cannot be opened" in found.reason
    assert not isinstance(found, Document)


def test_every_broken_file_yields_a_result(tmp_path: Path) -> None:
    break_files(tmp_path, 3 * len(WAYS), seed=1)
    lost, found = read_broken(tmp_path)
    counted = counts(found)
    assert (lost, counted["failed"], counted["unencodable"]) == (0, 0, 0)
    for path in tmp_path.iterdir():
        begins = readers.name(path, tmp_path)
        assert any(each.source == begins or each.source.startswith((f"{begins}/", f"{begins}#")) for each in found)
    assert not list(tmp_path.parent.parent.rglob("escaped.txt"))  # where two archives would have it


def test_large_result_is_spilled_to_disk_and_complete(tmp_path: Path) -> None:
    rows = [f"Row {number}. {'The gate is opened at seven. ' * 120}" for number in range(5_200)]
    with (tmp_path / "rows.jsonl").open("w") as file:
        file.writelines(json.dumps({"text": row}) + "\n" for row in rows)
    assert sum(map(len, rows)) > worker_pool.MAX_CHARACTERS_IN_MEMORY
    for found in worker_pool.read(sources(tmp_path), tmp_path, Limits(300_000_000, 100), 60, 1024):
        assert not isinstance(found, list)
        assert [each.text for each in found if isinstance(each, Document)] == [row.strip() for row in rows]
    assert not list(extraction_cache.PLACE.parent.glob("tmp*"))
