"""`gradus gc` and the runs whose results nothing refers to yet."""

from pathlib import Path

import pytest

from flows.commands import gc
from flows.dag.worktree import WORKTREES
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
    (WORKTREES / "dead").mkdir(parents=True)
    collect()
    (WORKTREES / liveness.lease().name).mkdir()
    with pytest.raises(InProgressError, match=f"A run in {WORKTREES / liveness.lease().name} uses the cache"):
        collect()
