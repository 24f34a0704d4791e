"""A git worktree at a commit, which isolates a run from the working tree.

Worktrees are in .gradus/worktrees/. DVC's cache, MLflow's store, checkpoints, the LLM cache and process leases are
shared with the project; everything else, including the code, is the commit's. Needs git.
"""

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dvc.config import Config
from dvc.config_schema import RelPath
from dvc.repo import Repo

from flows.dag.dvc_lock import ONE_AT_A_TIME
from flows.folder import MARKS, check_repository
from flows.run.process import end_orphans
from flows.serve.prefect_server import ADDRESS, announced
from pipelines import artifacts
from pipelines.llm.cache import PATH as CALLS
from pipelines.runtime import liveness, store_location, tracking_store
from pipelines.runtime.errors import UserError

WORKTREES = Path(".gradus/worktrees")
IN_USE = "run_at_commit"
"""Lock that every process with a worktree shares, and that `gradus gc` holds alone."""
LOCK = "dvc.lock"
NO_HOOKS = "core.hooksPath=/dev/null"
"""Setting of git: hooks, such as those of `dvc install`, are for the user's own checkouts and commits."""
COMMITTING = (NO_HOOKS, "commit.gpgsign=false", "user.name=gradus", "user.email=gradus@localhost")
"""Settings of git for commits that nobody is asked to sign."""


@dataclass(frozen=True)
class Workspace:
    """A worktree and the environment of programs that run in it."""

    id: str
    commit: str
    path: Path
    environment: dict[str, str]

    def gradus(self, *arguments: str) -> int:
        """Run the commit's own `gradus`, forwarding Ctrl-C to it; return its exit status."""
        command = [sys.executable, "-m", "flows.cli", *arguments]
        process = subprocess.Popen(command, cwd=self.path, env=self.environment, start_new_session=True)
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)

    def dvc(self, *arguments: str) -> str:
        """Run DVC in the worktree; return its output.

        Raises:
            UserError: DVC fails.
        """
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
            raise UserError(f"`dvc {' '.join(arguments)}` failed at the commit {self.commit[:10]}: {why}")
        return done.stdout

    def git(self, *arguments: str, settings: Sequence[str] = ()) -> str:
        """Run git in the worktree; return its output."""
        return git(*arguments, where=self.path, settings=settings)

    def commit_files(self, title: str, *paths: str) -> None:
        """Commit `paths` on a detached HEAD, unless they are unchanged."""
        self.git("add", "--force", *paths)
        if self.git("status", "--porcelain", "--", *paths):
            self.git("commit", "--quiet", "--message", title, "--", *paths, settings=COMMITTING)

    def keep(self, title: str, *, always: bool = False) -> str | None:
        """Commit dvc.lock on the branch `runs/<id>` and push the data to the remote, if any; return the branch.

        When dvc.lock is unchanged, no branch is created unless `always`.
        """
        before = self.git("rev-parse", "HEAD")
        self.commit_files(title, LOCK)
        if self.git("rev-parse", "HEAD") == before and not always:
            return None
        branch = f"runs/{self.id}"
        self.git("branch", branch)
        if self.dvc("remote", "list").strip():
            self.dvc("push")
        return branch


def resolve(revision: str) -> str:
    """Return the commit that `revision` names.

    Raises:
        UserError: there is no such commit, or no repository.
    """
    git("rev-parse", "--git-dir")  # fails with git's reason when the folder is in no repository that git trusts
    try:
        return git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except UserError as error:
        raise UserError(f"There is no commit {revision!r} here; `git log` lists the commits.") from error


def resolve_project(revision: str) -> str:
    """Return the commit that `revision` names, which holds a project at its root.

    A command in a worktree without one would find the user's own project, which is in a parent folder.

    Raises:
        UserError: there is no such commit, or it holds no project at its root.
    """
    commit = resolve(revision)
    if not set(MARKS) <= set(git("ls-tree", "--full-tree", "--name-only", commit).splitlines()):
        raise UserError(
            f"The commit {commit[:10]} holds no Gradus project ({', '.join(MARKS)}) at the root of its repository; "
            "choose a commit that does, or move the project to the root."
        )
    return commit


@contextmanager
def workspace(revision: str) -> Iterator[Workspace]:
    """Create a worktree at `revision`, and remove it on exit.

    Raises:
        UserError: there is no such commit, it holds no project, or its data is neither in the cache nor in a remote.
        InProgressError: unused files are being removed, to which the results would belong.
    """
    check_repository()
    end_orphans()
    commit = resolve_project(revision)
    with liveness.shared(IN_USE):
        _remove_stale()
        path = (WORKTREES / liveness.lease().name).resolve()
        git("worktree", "add", "--quiet", "--detach", str(path), commit, settings=[NO_HOOKS])
        try:
            _share(path)
            space = Workspace(uuid.uuid4().hex[:12], commit, path, _environment(path))
            _fetch(space)
            yield space
        finally:
            git("worktree", "remove", "--force", str(path))


def _remove_stale() -> None:
    """Remove the worktrees of dead processes; each is named after the lease of its process."""
    for path in WORKTREES.glob("*"):
        if not is_used(path):
            with suppress(UserError):  # git does not know the worktrees of a project that was moved
                git("worktree", "remove", "--force", str(path))
            shutil.rmtree(path, ignore_errors=True)
    git("worktree", "prune")


def is_used(worktree: Path) -> bool:
    """Return whether the process that created a worktree is alive."""
    return liveness.is_held(liveness.MARKS / worktree.name)


def _share(path: Path) -> None:
    """Share DVC's cache and settings, checkpoints, the LLM cache, leases and MLflow's files with the worktree."""
    settings = Path(".dvc/config.local")
    if settings.exists():
        shutil.copy(settings, path / settings)
    _share_storage(path)
    for shared in (liveness.MARKS, artifacts.CHECKPOINTS, CALLS.parent, store_location.STORE):
        shared.mkdir(parents=True, exist_ok=True)
        (path / shared).parent.mkdir(parents=True, exist_ok=True)
        (path / shared).symlink_to(shared.resolve())


def _share_storage(path: Path) -> None:
    """Let DVC in the worktree use the project's cache, and remotes at paths relative to the project's configuration."""
    with ONE_AT_A_TIME, Repo() as repo:
        cache, here = str(repo.cache.local_cache_dir), Path(repo.dvc_dir)
    config = Config(str(path / ".dvc"))
    moved = {
        name: os.path.normpath(here / os.path.relpath(remote["url"], path / ".dvc"))
        for name, remote in config["remote"].items()
        if isinstance(remote["url"], RelPath)
    }
    with config.edit("local") as local:
        local["cache"]["dir"] = cache
        for name, url in moved.items():
            local["remote"].setdefault(name, {})["url"] = url


def _environment(path: Path) -> dict[str, str]:
    tracking_store.experiment(tracking_store.client())  # so that its artifacts are stored in the project
    served = announced()
    return {
        **os.environ,
        **({ADDRESS: served} if served else {}),
        "MLFLOW_TRACKING_URI": tracking_store.address(),
        "PREFECT_HOME": str(path / ".gradus"),  # two servers cannot share a database
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        liveness.FLOW: str(liveness.lease()),
    }


def _fetch(space: Workspace) -> None:
    """Check out the data that the commit tracks with `dvc add`, from the cache or else the remote."""
    named = [line for line in space.git("ls-files", "*.dvc").splitlines() if line]
    if not named:
        return
    if space.dvc("remote", "list").strip():
        space.dvc("pull", *named)
    else:
        space.dvc("checkout", *named)


def git(*arguments: str, where: Path = Path(), stripped: bool = True, settings: Sequence[str] = ()) -> str:
    """Run git with `settings` (`name=value`); return its output, without outer white space unless not `stripped`.

    Raises:
        UserError: git fails or is not installed.
    """
    options = [part for setting in settings for part in ("-c", setting)]
    try:
        done = subprocess.run(["git", *options, *arguments], cwd=where, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError("git is not installed; it is needed to run a commit.") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        why = next((line for line in lines if line.startswith(("fatal: ", "error: "))), lines[-1])  # before any hints
        raise UserError(f"`git {arguments[0]}` failed: {why}")
    return done.stdout.strip() if stripped else done.stdout
