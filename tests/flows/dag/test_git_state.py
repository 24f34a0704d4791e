"""A run is clean only if git confirms that a commit holds every source."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from flows.dag import git_state
from tests.flows.dag.test_worktree import commit

pytestmark = pytest.mark.slow


def describe(source: Path) -> None:
    stage = {"cmd": "python fake.py ingest", "deps": [str(source)], "outs": ["artifacts/ingest"]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"ingest": stage}}))


@pytest.fixture
def committed(repository: Path) -> str:
    describe(Path("data/raw"))
    return commit("stages")


def test_committed_sources_are_clean(committed: str) -> None:
    tags = git_state.tags()
    assert (tags["commit"], tags["dirty"]) == (committed, "False")


def edit(repository: Path) -> None:
    (repository / "data/raw/b.txt").write_text("Another document.")


def move_documents(repository: Path) -> None:
    outside = repository.parent / f"{repository.name}-documents"
    shutil.copytree(repository / "data/raw", outside)
    describe(outside)
    commit("documents outside of the repository")


def corrupt_index(repository: Path) -> None:
    (repository / ".git/index").write_bytes(b"broken")


@pytest.mark.parametrize("change", [edit, move_documents, corrupt_index])
def test_sources_that_no_commit_is_known_to_hold_are_dirty(
    committed: str, repository: Path, change: Callable[[Path], None]
) -> None:
    change(repository)
    assert git_state.tags()["dirty"] == "True"


def test_without_a_repository_a_run_is_dirty_and_has_no_commit(committed: str, repository: Path) -> None:
    shutil.rmtree(repository / ".git")
    (repository / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    tags = git_state.tags()
    assert (tags["commit"], tags["dirty"]) == ("none", "True")


def test_before_the_first_commit_a_run_is_dirty_and_has_no_commit(committed: str, repository: Path) -> None:
    (repository / ".git/refs/heads" / git_state.tags()["mlflow.source.git.branch"]).unlink()
    tags = git_state.tags()
    assert (tags["commit"], tags["dirty"]) == ("none", "True")
