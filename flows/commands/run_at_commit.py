"""Run a commit in a separate worktree, with the result on the branch `runs/<id>`.

Standalone: gradus run --rev COMMIT, gradus run --set sft.epochs=8
"""

import shutil
from collections.abc import Sequence

from rich.console import Console

from flows.dag.worktree import git, resolve_project, workspace
from flows.folder import check_repository
from flows.run import overrides
from flows.run.process import LOGS


def run(
    console: Console, revision: str | None, stages: list[str], force: bool, no_promote: bool, sets: Sequence[str] = ()
) -> int:
    """Run `stages` of `revision` (by default HEAD) with the parameters `sets`; return the run's exit status.

    The outputs are in the shared cache, referenced by dvc.lock on the branch. Checkpoints of an interrupted run are
    kept, and the same command resumes from them.

    Raises:
        UserError: there is no such commit or parameter, or the commit's data is not available.
    """
    check_repository()
    commit = resolve_project(revision or "HEAD")
    _check(commit, sets, current=revision is None)
    if revision is None and git("status", "--porcelain", "--untracked-files=no"):
        console.print(f"Uncommitted changes are ignored: the run uses HEAD ({commit[:10]}).", highlight=False)
    flags = [flag for flag, given in (("--force", force), ("--no-promote", no_promote)) if given]
    with workspace(commit) as space:
        if sets:
            overrides.write(sets, space.path)
            space.commit_files(f"Run {space.id} with {', '.join(sets)}", str(overrides.PARAMS))
        console.print(f"Running commit {commit[:10]} in a separate worktree.", highlight=False)
        status = space.gradus("run", *stages, *flags)
        if status == 0:
            branch = space.keep(f"Run {space.id} of {commit[:10]}", always=bool(sets))
            message = (
                f"The new dvc.lock is on the branch {branch}." if branch else "The commit's dvc.lock is unchanged."
            )
            console.print(message, highlight=False)
        elif (space.path / LOGS).is_dir():
            shutil.copytree(space.path / LOGS, LOGS / space.id)
            console.print(f"The logs are in {LOGS / space.id}.", highlight=False)
    return status


def _check(commit: str, sets: Sequence[str], *, current: bool) -> None:
    """Raise a UserError for unknown parameters or invalid values; older commits validate values themselves."""
    if not sets:
        return
    text = overrides.changed(git("show", f"{commit}:{overrides.PARAMS}", stripped=False), sets)
    if current:
        overrides.checked(text)
