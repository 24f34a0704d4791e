"""The commands that run stages, and that say what would run."""

import sys
from typing import Annotated

import typer

from flows.cli.app import console, end, prefect
from flows.run.errors import StageError

Stages = Annotated[
    list[str] | None, typer.Argument(help="Only these stages and what they need; all when none is named.")
]
Revision = Annotated[
    str | None, typer.Option("--rev", help="Run this commit, in a worktree; the result goes to the branch runs/ID.")
]
NoPromote = Annotated[bool, typer.Option("--no-promote", help="Register and promote nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Run them even when nothing changed.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Run HEAD (or --rev) with this parameter changed, in a worktree."),
]
CommitLock = Annotated[bool, typer.Option("--commit", help="Commit dvc.lock after the run.")]
Commit = Annotated[str | None, typer.Argument(help="A commit with a dvc.lock, such as a branch runs/ID.")]
Version = Annotated[int | None, typer.Option("--version", help="The commit of this registered version.")]
Only = Annotated[str | None, typer.Option("--stages", help="Only these, separated by commas.")]
Recompute = Annotated[bool, typer.Option("--recompute", help="Run every stage again instead of restoring.")]
Tolerance = Annotated[float, typer.Option(help="How far measures may differ where bytes do, relative.")]
Keep = Annotated[
    int, typer.Option(min=1, help="How many of the last versions keep their weights, beside aliased ones.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Free it without asking.")]


def run(
    stages: Stages = None,
    force: Force = False,
    rev: Revision = None,
    sets: Sets = None,
    no_promote: NoPromote = False,
    commit: CommitLock = False,
) -> None:
    """Run the pipeline: what changed runs, the best model is registered and, when good enough, promoted."""
    if rev is not None or sets:
        from flows.commands import run_at_commit

        sys.exit(run_at_commit.run(console, rev, stages or [], force, no_promote, sets or []))
    from flows.preflight import check
    from pipelines.runtime import liveness

    settings = check()
    liveness.follow_the_flow()  # in a worktree: the command that made it
    try:
        with prefect() as ready:
            from flows.post_train import post_train
            from flows.run.summary import show

            ready()
            promotion = post_train(settings, console, stages or [], force, not no_promote)
    except KeyboardInterrupt:
        end("Stopped. What was finished stays; `gradus run` goes on from there.", 130)
    except StageError as failure:
        end(f"{failure.stage}: {failure}", 2 if failure.user else 1)
    if promotion is not None:
        show(console, promotion)
    from flows.dag.provenance import keep_lock

    keep_lock(console, commit)


def status() -> None:
    """Show what runs and how long it will take, else what would run and why; the champion; addresses of servers."""
    from flows.commands.status import show
    from flows.folder import check_names, check_repository
    from pipelines import config

    check_repository()
    check_names(config.load().ingest.source)
    show(console)


def accept(
    stage: Annotated[str, typer.Argument(help="A stage of dvc.yaml; of repeated ones the name before the @.")],
    reason: Annotated[str, typer.Option(help="Kept in code.lock.yaml: why results are the same.")],
) -> None:
    """Keep a stage's results after a change of code that cannot change them."""
    from flows.commands.accept import accept

    accept(stage, reason)
    console.print(f"{stage} keeps its results. Commit code.lock.yaml with the change.", highlight=False)


def reproduce(
    commit: Commit = None,
    version: Version = None,
    stages: Only = None,
    recompute: Recompute = False,
    tolerance: Tolerance = 0.02,
) -> None:
    """Restore a commit's results, or compute them again, and say of each whether it is what it was."""
    from flows.commands.reproduce import reproduce
    from flows.dag.provenance import commit_of

    if (commit is None) == (version is None):
        end("Name either a commit or a --version.", 2)
    names = [name.strip() for name in (stages or "").split(",") if name.strip()]
    if not reproduce(console, commit or commit_of(version or 0), recompute, tolerance, names):
        end("Not every output is what it was.", 1)


def runs() -> None:
    """List the whole runs: date, commit, candidate, figures, and whether it was promoted."""
    from flows.commands.runs import table, whole_runs

    console.print(table(whole_runs()))


def compare(
    results: Annotated[
        list[str] | None, typer.Argument(metavar="A B", help="Runs, versions or commits; else the last two runs.")
    ] = None,
) -> None:
    """Show what differed between two results, how their figures differ, and which questions turned."""
    from flows.commands.compare import compare
    from pipelines import config

    settings = config.load()
    compare(console, results or [], settings.compare, settings.compute.seed)


def gc(yes: Yes = False, keep: Keep = 5) -> None:
    """Show what nothing needs of cache, checkpoints and registered weights, and free it."""
    from flows.commands.gc import free, unneeded

    found = unneeded(keep)
    for line in found.lines():
        console.print(line, highlight=False)
    if found and (yes or typer.confirm("Free it?")):
        free(found)
