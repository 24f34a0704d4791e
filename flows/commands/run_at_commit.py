"""A run at a commit: in a worktree of its own, its result on the branch `runs/<id>`.

Alone: gradus run --rev COMMIT, gradus run --set sft.epochs=8
"""

import shutil
from collections.abc import Sequence

from rich.console import Console

from flows.dag.worktree import git, resolve, workspace
from flows.folder import check_repository
from flows.run import overrides
from flows.run.process import LOGS


def run(
    console: Console, revision: str | None, stages: list[str], force: bool, no_promote: bool, sets: Sequence[str] = ()
) -> int:
    """Run `stages` as `revision`, else HEAD, describes them with the parameters `sets`; return the run's exit status.

    What it made lies in the shared cache, named by dvc.lock on the branch. Checkpoints of an interrupted run stay, and
    the same command goes on from them.

    Raises:
        UserError: there is no such commit, its data is not to be had, or it knows no such parameter.
    """
    check_repository()
    commit = resolve(revision or "HEAD")
    _check(commit, sets, current=revision is None)
    if revision is None and git("status", "--porcelain", "--untracked-files=no"):
        console.print(f"What is not committed does not take part: HEAD ({commit[:10]}) is what runs.", highlight=False)
    flags = [flag for flag, given in (("--force", force), ("--no-promote", no_promote)) if given]
    with workspace(commit) as space:
        if sets:
            overrides.write(sets, space.path)
            space.commit_files(f"Run {space.id} with {', '.join(sets)}", str(overrides.PARAMS))
        console.print(f"Running commit {commit[:10]} in a worktree of its own.", highlight=False)
        status = space.gradus("run", *stages, *flags)
        if status == 0:
            branch = space.keep(f"Run {space.id} of {commit[:10]}", always=bool(sets))
            said = f"Its dvc.lock is on the branch {branch}." if branch else "Its dvc.lock is the commit's own."
            console.print(said, highlight=False)
        elif (space.path / LOGS).is_dir():
            shutil.copytree(space.path / LOGS, LOGS / space.id)
            console.print(f"Its logs are in {LOGS / space.id}.", highlight=False)
    return status


def _check(commit: str, sets: Sequence[str], *, current: bool) -> None:
    """Refuse an unknown parameter or a value that is not allowed; an older commit checks values by its own code."""
    if not sets:
        return
    text = overrides.changed(git("show", f"{commit}:{overrides.PARAMS}", stripped=False), sets)
    if current:
        overrides.checked(text)
