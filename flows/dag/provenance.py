"""Map results to commits: dvc.lock names the outputs of a run, so it must be committed after the run.

Reads git's history and the registry; commits dvc.lock alone (`gradus run --commit`).
"""

import os
import subprocess

from rich.console import Console

from flows.dag.worktree import LOCK, git
from pipelines.runtime import liveness
from pipelines.runtime.errors import UserError


def commit_of(number: int) -> str:
    """Return the commit whose dvc.lock first named the weights of the registered version `number`.

    Raises:
        UserError: there is no such version, or no commit names its weights.
    """
    from pipelines.models.release import registry  # imports MLflow, which `gradus run` does not need here

    return commit_naming(registry.get(number).tags["artifact"], f"version {number}")


def commit_naming(digest: str, what: str) -> str:
    """Return the first commit on any branch whose dvc.lock holds `digest`, the hash of `what`.

    Raises:
        UserError: there is no such commit.
    """
    found = git("log", "--all", "--format=%H", f"-S{digest}", "--", LOCK).split()
    if not found:
        raise UserError(
            f"No commit's {LOCK} names {what}: it was not committed after that run; "
            f"if {LOCK} has not changed since the run, commit it."
        )
    return found[-1]


def keep_lock(console: Console, commit: bool) -> None:
    """After a run in the working tree, commit a changed dvc.lock, or print a reminder to commit it.

    In a worktree, the command that created the worktree commits dvc.lock.
    """
    if liveness.FLOW in os.environ or not _changed():
        return
    if not commit:
        console.print(
            f"Commit {LOCK} (`git commit {LOCK}`, or `gradus run --commit`): it records the results of this run.",
            highlight=False,
        )
        return
    git("add", "--force", LOCK)
    git("commit", "--quiet", "--message", "dvc.lock: the results of a run", "--", LOCK)
    console.print(f"{LOCK} was committed as {git('rev-parse', '--short', 'HEAD')}.", highlight=False)


def _changed() -> bool:
    """Return whether dvc.lock differs from HEAD or is untracked; always False outside of git."""
    done = subprocess.run(["git", "status", "--porcelain", "--ignored", "--", LOCK], capture_output=True, check=False)
    return done.returncode == 0 and bool(done.stdout.strip())
