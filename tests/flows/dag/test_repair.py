"""Stale evaluations are removed before a run, so that `compare` depends only on what it reads."""

from pathlib import Path

import pytest

from flows.dag.repair import remove_leftovers


def test_only_evaluations_that_are_no_longer_compared_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    remove_leftovers(["base"])
    for name in ("base", "sft", "dpo"):
        (tmp_path / "artifacts/evaluate" / name).mkdir(parents=True)
    remove_leftovers({"base": "base", "dpo": "align/dpo"})
    assert sorted(path.name for path in (tmp_path / "artifacts/evaluate").iterdir()) == ["base", "dpo"]
