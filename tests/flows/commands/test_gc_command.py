"""`gradus gc` and the runs whose results nothing refers to yet."""

from pathlib import Path

import pytest

from flows.commands import gc
from flows.dag.worktree import IN_USE
from pipelines.runtime import liveness
from pipelines.runtime.errors import InProgressError


def collect() -> None:
    with gc.without_runs():
        pass


def test_nothing_is_collected_during_a_run(project: Path) -> None:
    with liveness.exclusive("post_train"), pytest.raises(InProgressError, match="post_train is being run here"):
        collect()
    collect()


def test_nothing_is_collected_while_a_worktree_is_used(project: Path) -> None:
    with (
        liveness.shared(IN_USE),
        liveness.shared(IN_USE),
        pytest.raises(InProgressError, match="run_at_commit is being run here already, by process"),
    ):
        collect()
    collect()
