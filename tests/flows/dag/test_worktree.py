"""Runs at a commit, reproduction and garbage collection, with real Git and DVC and fake stages."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from dvc.config import Config
from rich.console import Console

from flows.commands import gc, run_at_commit
from flows.dag import dvc_cache, dvc_lock, git_state
from flows.dag.worktree import LOCK, WORKTREES, resolve, workspace
from flows.folder import MARKS
from pipelines import artifacts
from pipelines.runtime import liveness
from pipelines.runtime.errors import InProgressError, UserError
from tests.flows.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

CHAIN = {"ingest": [], "clean": ["ingest"]}


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit(title: str) -> str:
    git("add", "--all")
    git("commit", "--message", title)
    return git("rev-parse", "HEAD")


def run_at(fake: Project, revision: str, *more: str) -> tuple[int, str]:
    process = fake.start("run", "--rev", revision, *more)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def test_concurrent_runs_at_commits_create_branches_and_leave_the_working_tree_unchanged(fake: Project) -> None:
    fake.describe(CHAIN, clean={"value": "one", "seconds": 1})
    one = commit("one")
    fake.change(clean={"value": "two", "seconds": 1})
    two = commit("two")
    (fake.path / "notes.txt").write_text("not committed")
    runs = [fake.start("run", "--rev", each, "clean") for each in (one, two)]
    for run in runs:
        output, _ = run.communicate(timeout=200)
        assert run.returncode == 0, output
    assert not (fake.path / "artifacts").exists() and not (fake.path / "dvc.lock").exists()
    assert git("worktree", "list").count("\n") == 0
    branches = git("branch", "--format", "%(refname:short)", "--list", "runs/*").splitlines()
    parents = {git("rev-parse", f"{branch}^"): branch for branch in branches}
    assert parents.keys() == {one, two}
    for revision, value in ((one, "one"), (two, "two")):
        with workspace(parents[revision]) as space:
            space.dvc("checkout")
            assert (space.path / "artifacts/clean/result.txt").read_text() == value


def test_next_run_removes_the_worktree_of_a_killed_run(fake: Project) -> None:
    fake.describe(CHAIN, clean={"seconds": 300})
    slow = commit("slow")
    fake.change(clean={"seconds": 0})
    quick = commit("quick")
    process = fake.start("run", "--rev", slow, "clean")
    worktrees = fake.path / ".gradus/worktrees"
    while not (started := list(worktrees.glob("*/started.txt"))) or "clean" not in started[0].read_text():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.kill()
    process.communicate()
    status, output = run_at(fake, quick, "clean")
    assert status == 0, output
    assert list(worktrees.iterdir()) == [] and git("worktree", "list").count("\n") == 0
    assert not [each for each in psutil.process_iter(["cwd"]) if str(worktrees) in str(each.info["cwd"])]


def test_failed_run_at_a_commit_keeps_its_logs(fake: Project) -> None:
    fake.describe(CHAIN, clean={"logged": True, "refuses": "There is no text."})
    status, output = run_at(fake, commit("bad"), "clean")
    assert status == 2 and "clean: There is no text." in output
    (log,) = (fake.path / ".gradus/logs").glob("*/clean.log")
    assert "There is no text." in log.read_text()


def test_unknown_commit_is_rejected(fake: Project) -> None:
    fake.describe(CHAIN)
    with pytest.raises(UserError, match="no commit 'c0ffee'"):
        resolve("c0ffee")
    status, output = run_at(fake, "c0ffee")
    assert (status, output.strip()) == (2, "There is no commit 'c0ffee' here; `git log` lists the commits.")


@pytest.fixture
def described(repository: Path, mlflow_store: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project with a stage, without servers."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)
    stage = {"cmd": "python fake.py ingest", "outs": ["artifacts/ingest"]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"ingest": stage}}))
    commit("stages")
    return repository


def test_commit_without_a_project_at_the_root_is_rejected(described: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="holds no Gradus project"), workspace("HEAD^"):  # before dvc.yaml
        pass
    below = described / "below"
    below.mkdir()
    for name in (*MARKS, ".dvc"):
        (described / name).rename(below / name)
    commit("project in a subfolder")
    monkeypatch.chdir(below)
    with pytest.raises(UserError, match="at the root of its repository"):
        run_at_commit.run(Console(), None, [], False, False, ["sft.epochs=3"])
    assert not (below / ".gradus/worktrees").exists()


def test_commit_is_not_sought_outside_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="`git rev-parse` failed: fatal: not a git repository"):
        resolve("HEAD")


def test_worktree_ignores_hooks_signing_and_what_a_moved_project_left(described: Path) -> None:
    for hook in ("post-checkout", "pre-commit", "post-commit"):
        path = described / ".git/hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\necho the hook refuses >&2; exit 1\n")
        path.chmod(0o755)
    git("config", "commit.gpgsign", "true")
    git("config", "gpg.program", "false")
    left = WORKTREES / "dead"
    left.mkdir(parents=True)
    (left / ".git").write_text("gitdir: /nowhere/.git/worktrees/dead\n")
    with workspace("HEAD") as space:
        assert not left.exists()
        (space.path / LOCK).write_text("schema: '2.0'\nstages: {}\n")
        branch = space.keep("a run")
    assert branch is not None and git("show", f"{branch}:{LOCK}").startswith("schema")


def test_no_worktree_is_created_while_files_are_collected(described: Path) -> None:
    with (
        gc.without_runs(),
        pytest.raises(InProgressError, match="run_at_commit is not possible now because of process"),
        workspace("HEAD"),
    ):
        pass
    assert not WORKTREES.exists()


def test_relative_remote_and_cache_of_the_project_are_used_in_a_worktree(described: Path) -> None:
    remote = described.with_name(f"{described.name}-remote")
    section = f"['remote \"near\"']\n    url = ../../{remote.name}\n"
    (described / ".dvc/config").write_text(f"[core]\n    remote = near\n{section}")
    commit("a relative remote")
    (described / ".dvc/config.local").write_text("['remote \"near\"']\n    verify = true\n")
    with workspace("HEAD") as space:
        shared = Config(str(space.path / ".dvc"))
        assert shared["remote"]["near"]["url"] == str(remote)
        assert shared["remote"]["near"]["verify"] is True
        assert shared["cache"]["dir"] == str(described / ".dvc/cache")


@pytest.fixture
def recorded(fake: Project) -> str:
    """The branch of a run at a commit."""
    fake.describe(CHAIN, clean={"value": "same"})
    status, output = run_at(fake, commit("a run"), "clean")
    assert status == 0, output
    return git("branch", "--format", "%(refname:short)", "--list", "runs/*")


def test_restore_checks_out_every_output_and_runs_nothing(fake: Project, recorded: str) -> None:
    process = fake.start("reproduce", recorded)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert output.count(" equal") == 2
    objects = [each for each in (fake.path / ".dvc/cache/files").rglob("*") if each.is_file() and each.suffix != ".dir"]
    (same,) = (each for each in objects if each.read_text() == "same")
    same.chmod(0o644)
    same.write_text("other")
    same.chmod(0o444)  # as DVC leaves it
    process = fake.start("reproduce", recorded)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "missing" in output and "no undamaged copy in the cache or a remote" in output


def cached(fake: Project) -> set[Path]:
    return {each for each in (fake.path / ".dvc/cache").rglob("*") if each.is_file()}


def test_recompute_gives_the_same_bytes_and_removes_its_scratch_cache(fake: Project, recorded: str) -> None:
    before = cached(fake)
    process = fake.start("reproduce", "--recompute", recorded)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert output.count(" equal") == 2
    assert cached(fake) == before and list((fake.path / ".gradus/worktrees").iterdir()) == []


def test_nondeterministic_stage_is_detected(fake: Project) -> None:
    fake.describe(CHAIN, ingest={"random": True})
    status, output = run_at(fake, commit("a run"), "clean")
    assert status == 0, output
    branch = git("branch", "--format", "%(refname:short)", "--list", "runs/*")
    before = cached(fake)
    process = fake.start("reproduce", "--recompute", branch)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "is not deterministic" in output
    assert cached(fake) == before  # the differing output is not cached
    (line,) = (line for line in output.splitlines() if "artifacts/ingest" in line and "equal" not in line)
    assert line.split()[2] == "different"


def test_commit_without_dvc_lock_cannot_be_reproduced(fake: Project) -> None:
    fake.describe(CHAIN)
    commit("no run")
    process = fake.start("reproduce", "HEAD")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "holds no dvc.lock" in output


def test_pushed_output_is_in_the_remote(fake: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    fake.describe(CHAIN)
    fake.run("clean")
    digest = dvc_lock.output_hash("clean", Path("artifacts/clean"))
    assert dvc_cache.in_remote(digest)  # there is no remote

    def dvc(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True)

    dvc("remote", "add", "--default", "store", str(tmp_path_factory.mktemp("remote")))
    assert not dvc_cache.in_remote(digest)
    dvc("push")
    assert dvc_cache.in_remote(digest)


def test_changed_data_under_dvc_add_makes_a_run_dirty(fake: Project) -> None:
    fake.describe({"ingest": []}, ingest={"reads": ["data/raw"]})
    git("rm", "-r", "--cached", "data/raw")
    subprocess.run([sys.executable, "-m", "dvc", "add", "data/raw"], check=True, capture_output=True)
    commit("data in DVC")
    assert git_state.tags()["dirty"] == "False"
    (fake.path / "data/raw/b.txt").write_text("Another document.")
    assert git_state.tags()["dirty"] == "True"


def test_gc_removes_only_unreferenced_objects_and_checkpoints(fake: Project) -> None:
    fake.describe(CHAIN, clean={"value": "kept by a commit"})
    fake.run("clean")
    commit("kept")
    fake.change(clean={"value": "kept by nothing"})
    fake.run("clean")
    fake.change(clean={"value": "kept by the working tree"})
    fake.run("clean")
    key = dvc_lock.prove("clean").key
    for name in (key, "0" * 64):
        folder = fake.path / artifacts.CHECKPOINTS / "clean" / name
        folder.mkdir(parents=True)
        (folder / "tensors").write_text("x")
        liveness.lock_file(folder).touch()
    fake.change(clean={"value": "to be computed"})
    wanted = fake.path / artifacts.CHECKPOINTS / "clean" / dvc_lock.prove("clean").key
    wanted.mkdir()
    found = gc.unneeded(5)
    assert found.cached > 0 and len(found.checkpoints) == 2 and wanted not in found.checkpoints
    gc.free(found)
    assert not gc.unneeded(5)
    assert list((fake.path / artifacts.CHECKPOINTS / "clean").iterdir()) == [wanted]
    contents = {each.read_text() for each in (fake.path / ".dvc/cache/files").rglob("*") if each.is_file()}
    assert {"kept by a commit", "kept by the working tree"} <= contents and "kept by nothing" not in contents
    subprocess.run([sys.executable, "-m", "dvc", "checkout"], check=True, capture_output=True)
