"""A directory is complete once its record exists, and equal values yield equal files."""

from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.runtime.errors import UserError
from tests.support.tables import write_table


def test_incomplete_output_cannot_be_read(project: Path) -> None:
    out = artifacts.fresh("clean")
    with pytest.raises(UserError, match="artifacts/clean is missing or incomplete"):
        artifacts.read("clean")
    artifacts.complete(out, {"stage": "clean"})
    assert artifacts.record(artifacts.read("clean")) == {"stage": "clean"}


def test_fresh_output_is_empty(project: Path) -> None:
    out = artifacts.fresh("align/dpo")
    artifacts.write_json(out / "deep/old.json", {})
    assert list(artifacts.files(artifacts.fresh("align/dpo"))) == []


def test_equal_values_make_equal_files(tmp_path: Path) -> None:
    artifacts.write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    artifacts.write_json(tmp_path / "b.json", {"a": "é", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert artifacts.read_json(tmp_path / "a.json") == {"a": "é", "b": 1}
    assert not list(tmp_path.glob("*.part"))


def test_rows_survive_jsonl_and_parquet(tmp_path: Path) -> None:
    rows = [{"id": "1", "text": "Ein\u2028Satz"}, {"id": "2", "text": ""}]
    artifacts.write_rows(tmp_path / "rows.jsonl", rows)
    write_table(tmp_path / "rows.parquet", rows)
    assert artifacts.read_rows(tmp_path / "rows.jsonl") == artifacts.read_table(tmp_path / "rows.parquet") == rows


@pytest.mark.parametrize(("line", "wrong"), [("{", "line 2: not JSON"), ("[1]", "line 2: a JSON object is expected")])
def test_broken_line_is_named(tmp_path: Path, line: str, wrong: str) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{{"a": 1}}\n{line}\n')
    with pytest.raises(UserError, match=wrong):
        artifacts.read_rows(tmp_path / "rows.jsonl")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl does not exist"):
        artifacts.read_rows(tmp_path / "none.jsonl")
