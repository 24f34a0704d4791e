"""A worktree at a commit, in which a run disturbs nothing and nothing disturbs it.

It lies in .gradus/worktrees/. DVC's cache, MLflow's store, checkpoints, calls and the marks of who is alive are the
project's own; everything else is the commit's, its code too. Needs git.
"""

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.folder import check_repository
from flows.run.process import end_orphans
from flows.serve.prefect_server import ADDRESS, announced
from pipelines import artifacts
from pipelines.llm.cache import PATH as CALLS
from pipelines.runtime import liveness, tracking
from pipelines.runtime.errors import UserError

WORKTREES = Path(".gradus/worktrees")
LOCK = "dvc.lock"


@dataclass(frozen=True)
class Workspace:
    """A worktree and what programs in it are told."""

    id: str
    commit: str
    path: Path
    environment: dict[str, str]

    def gradus(self, *arguments: str) -> int:
        """Run the command `gradus` of the commit, passing Ctrl-C on to it; return its exit status."""
        command = [sys.executable, "-m", "flows.cli", *arguments]
        process = subprocess.Popen(command, cwd=self.path, env=self.environment, start_new_session=True)
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)

    def dvc(self, *arguments: str) -> str:
        """Run DVC; return what it says.

        Raises:
            UserError: it fails.
        """
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
            raise UserError(f"`dvc {' '.join(arguments)}` failed at the commit {self.commit[:10]}: {why}")
        return done.stdout

    def git(self, *arguments: str) -> str:
        """Run git in the worktree; return what it says."""
        return git(*arguments, where=self.path)

    def commit_files(self, title: str, *paths: str) -> None:
        """Commit `paths` on no branch yet, unless they are the commit's own."""
        self.git("add", "--force", *paths)
        if self.git("status", "--porcelain", "--", *paths):
            who = ("-c", "user.name=gradus", "-c", "user.email=gradus@localhost")
            self.git(*who, "commit", "--quiet", "--no-verify", "--message", title, "--", *paths)

    def keep(self, title: str, *, always: bool = False) -> str | None:
        """Commit dvc.lock on the branch `runs/<id>`, push the data when there is a remote; return the branch.

        Where the lock is the commit's own there is no branch, unless `always`.
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
        UserError: there is none.
    """
    try:
        return git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except UserError as error:
        raise UserError(f"There is no commit {revision!r} here; `git log` shows those there are.") from error


@contextmanager
def workspace(revision: str) -> Iterator[Workspace]:
    """Make a worktree at `revision`, and remove it in the end.

    Raises:
        UserError: there is no such commit, or its data is neither in the cache nor in a remote.
    """
    check_repository()
    end_orphans()
    commit = resolve(revision)
    _clear()
    path = (WORKTREES / liveness.lease().name).resolve()
    git("worktree", "add", "--quiet", "--detach", str(path), commit)
    try:
        _share(path)
        space = Workspace(uuid.uuid4().hex[:12], commit, path, _environment(path))
        _fetch(space)
        yield space
    finally:
        git("worktree", "remove", "--force", str(path))


def _clear() -> None:
    """Remove the worktrees of processes that are dead; each is named after its process's mark."""
    for path in WORKTREES.glob("*"):
        if not liveness.is_held(liveness.MARKS / path.name):
            git("worktree", "remove", "--force", str(path))
    git("worktree", "prune")


def _share(path: Path) -> None:
    """Give the worktree the project's cache, settings, checkpoints, calls, marks and MLflow's files."""
    own = Path(".dvc/config.local")
    if own.exists():
        shutil.copy(own, path / own)
    _dvc("--cd", str(path), "config", "--local", "cache.dir", str(Path(_dvc("cache", "dir")).resolve()))
    for shared in (liveness.MARKS, artifacts.CHECKPOINTS, CALLS.parent, tracking.STORE):
        shared.mkdir(parents=True, exist_ok=True)
        (path / shared).parent.mkdir(parents=True, exist_ok=True)
        (path / shared).symlink_to(shared.resolve())


def _dvc(*arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _environment(path: Path) -> dict[str, str]:
    tracking.experiment(tracking.client())  # so that its files go where the project keeps them
    served = announced()
    return {
        **os.environ,
        **({ADDRESS: served} if served else {}),
        "MLFLOW_TRACKING_URI": tracking.address(),
        "PREFECT_HOME": str(path / ".gradus"),  # two servers cannot share a database
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        liveness.FLOW: str(liveness.lease()),
    }


def _fetch(space: Workspace) -> None:
    """Bring the data that the commit names by `dvc add`: from the cache, else from the remote."""
    named = [line for line in space.git("ls-files", "*.dvc").splitlines() if line]
    if not named:
        return
    if space.dvc("remote", "list").strip():
        space.dvc("pull", *named)
    else:
        space.dvc("checkout", *named)


def git(*arguments: str, where: Path = Path(), stripped: bool = True) -> str:
    """Run git; return what it says, without the white space around it unless not `stripped`.

    Raises:
        UserError: it fails, or there is no git.
    """
    try:
        done = subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError("git is not installed; a run at a commit needs it.") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise UserError(f"`git {arguments[0]}` failed: {said[-1]}")
    return done.stdout.strip() if stripped else done.stdout
