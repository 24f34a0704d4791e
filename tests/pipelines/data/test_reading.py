"""Files that take their reader's time, memory or life, among files that do not."""

from pathlib import Path

import pytest

from pipelines.data import reading
from pipelines.data.documents import Document
from pipelines.data.extract import Limits, Reject, sources

TEXT = "The sluice keeper rings the bell twice before the gate is opened. " * 5


def read(folder: Path, seconds: float = 30.0, megabytes: int = 1024) -> dict[str, str]:
    """Return the reason by name of each rejected file, an empty one of each document."""
    read = reading.read(sources(folder), folder, Limits(300_000_000, 100), seconds, megabytes)
    return {one.source: one.reason if isinstance(one, Reject) else "" for found in read for one in found}


def test_files_come_in_their_order(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text(TEXT * (1 + 997 * number % 50))
    assert list(read(tmp_path)) == [f"{number:02}.txt" for number in range(20)]


def test_a_file_that_takes_too_long_or_too_much_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "z.txt"):
        (tmp_path / name).write_text(TEXT)
    (tmp_path / "large.txt").write_text("x" * 250_000_000)
    (tmp_path / "deep.html").write_text("<div>" * 100_000 + TEXT)
    found = read(tmp_path, megabytes=300)
    assert found["a.txt"] == found["z.txt"] == ""
    assert found["large.txt"] == "took more than 300 MiB to read"
    assert found.keys() == {"a.txt", "z.txt", "large.txt", "deep.html"}
    monkeypatch.setattr(reading, "BYTES_PER_SECOND", 1e12)
    (tmp_path / "large.txt").unlink()
    (tmp_path / "wide.html").write_text("<p>word</p>" * 3_000_000)
    found = read(tmp_path, seconds=0.5)
    assert found["wide.html"].startswith("took longer than")
    assert found["z.txt"] == ""


def test_a_file_that_vanishes_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    (found,) = next(reading.read([path], tmp_path, Limits(10**6, 100), 30, 512))
    assert isinstance(found, Reject) and "cannot be opened" in found.reason
    assert not isinstance(found, Document)
