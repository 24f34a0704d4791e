"""Executor with local processes."""

import os
import time
from pathlib import Path

import pytest

from pipelines.data.executor import Executor
from pipelines.runtime.errors import UserError


def _described(number: int) -> tuple[int, int]:
    time.sleep(0.05 * (3 - number))
    return number, os.getpid()


def _refused(number: int) -> int:
    if number == 1:
        raise UserError("Shard 1 is of another kind.")
    return number


def _killed(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), 9)
    return number


def test_results_are_ordered_and_computed_in_other_processes() -> None:
    found = list(Executor().over(_described, range(4), "describing"))
    assert [number for number, _ in found] == [0, 1, 2, 3]
    assert os.getpid() not in {process for _, process in found}


def test_single_shard_runs_in_this_process() -> None:
    assert list(Executor().over(_described, [3], "describing")) == [(3, os.getpid())]


def test_worker_exception_is_raised() -> None:
    with pytest.raises(UserError, match="another kind"):
        list(Executor().over(_refused, range(3), "refusing"))


def test_killed_worker_raises_user_error() -> None:
    with pytest.raises(UserError, match=r"was killed .*memory"):
        list(Executor().over(_killed, range(3), "dying"))


def test_missing_ray_raises_error_with_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UserError, match=r"gradus\[ray\]"):
        list(Executor("ray").over(_described, range(2), "describing"))
