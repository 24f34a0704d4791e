"""A run at a commit: in a worktree of its own, its result on the branch `runs/<id>`. Alone: gradus run --rev COMMIT"""

import shutil

from rich.console import Console

from flows.process import LOGS
from flows.workspace import workspace


def run(console: Console, revision: str, stages: list[str], force: bool, no_promote: bool) -> int:
    """Run `stages` as `revision` describes them; return the exit status of the run.

    What it made lies in the shared cache, named by dvc.lock on the branch. Checkpoints of an interrupted run stay, and
    the same command goes on from them.

    Raises:
        UserError: there is no such commit, or its data is not to be had.
    """
    flags = [flag for flag, given in (("--force", force), ("--no-promote", no_promote)) if given]
    with workspace(revision) as space:
        console.print(f"Running commit {space.commit[:10]} in a worktree of its own.", highlight=False)
        status = space.gradus("run", *stages, *flags)
        if status == 0:
            branch = space.keep(f"Run {space.id} of {space.commit[:10]}")
            said = f"Its dvc.lock is on the branch {branch}." if branch else "Its dvc.lock is the commit's own."
            console.print(said, highlight=False)
        elif (space.path / LOGS).is_dir():
            shutil.copytree(space.path / LOGS, LOGS / space.id)
            console.print(f"Its logs are in {LOGS / space.id}.", highlight=False)
    return status
