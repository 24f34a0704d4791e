"""Leftovers go before a run, so that `compare` depends on what it reads."""

from pathlib import Path

import pytest

from flows.dag.repair import remove_leftovers


def test_evaluations_that_are_compared_no_longer_go_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    remove_leftovers(["base"])
    for name in ("base", "sft", "dpo"):
        (tmp_path / "artifacts/evaluate" / name).mkdir(parents=True)
    remove_leftovers({"base": "base", "dpo": "align/dpo"})
    assert sorted(path.name for path in (tmp_path / "artifacts/evaluate").iterdir()) == ["base", "dpo"]
