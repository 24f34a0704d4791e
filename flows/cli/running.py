"""The commands that run stages, and that say what would run."""

import sys
from typing import Annotated

import typer
from rich.table import Table

from flows.cli.app import console, end, prefect
from flows.failures import StageError

Stages = Annotated[
    list[str] | None, typer.Argument(help="Only these stages and what they need; all when none is named.")
]
Revision = Annotated[
    str | None, typer.Option("--rev", help="Run this commit, in a worktree; the result goes to the branch runs/ID.")
]
NoPromote = Annotated[bool, typer.Option("--no-promote", help="Register and promote nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Run them even when nothing changed.")]
Commit = Annotated[str, typer.Argument(help="A commit with a dvc.lock, such as a branch runs/ID.")]
Recompute = Annotated[bool, typer.Option("--recompute", help="Run every stage again instead of restoring.")]
Tolerance = Annotated[float, typer.Option(help="How far measures may differ where bytes do, relative.")]
Yes = Annotated[bool, typer.Option("--yes", help="Free it without asking.")]


def run(stages: Stages = None, force: Force = False, rev: Revision = None, no_promote: NoPromote = False) -> None:
    """Run the pipeline: what changed runs, the best model is registered and, when good enough, promoted."""
    if rev is not None:
        from flows import pinned

        sys.exit(pinned.run(console, rev, stages or [], force, no_promote))
    from flows.preflight import check
    from pipelines import alive

    settings = check()
    alive.follow_the_flow()  # in a worktree: the command that made it
    try:
        with prefect() as ready:
            from flows.post_train import post_train
            from flows.report import show

            ready()
            promotion = post_train(settings, console, stages or [], force, not no_promote)
    except KeyboardInterrupt:
        end("Stopped. What was finished stays; `gradus run` goes on from there.", 130)
    except StageError as failure:
        end(f"{failure.stage}: {failure}", 2 if failure.user else 1)
    if promotion is not None:
        show(console, promotion)


def status() -> None:
    """Show which stages are up to date, which changed, and why."""
    from flows.folder import check_names, check_repository
    from pipelines import config

    check_repository()
    check_names(config.load().ingest.source)
    from flows import graph, ledger

    stages = graph.read()
    changed = ledger.changes(stages)
    waiting = stages.after(changed)
    table = Table("stage", "state", "why", box=None, header_style="bold")
    for stage in stages:
        why = changed.get(stage.name, "")
        state = (
            "never ran"
            if why == "never ran"
            else "changed"
            if why
            else "follows"
            if stage.name in waiting
            else "up to date"
        )
        table.add_row(stage.name, state, {"never ran": "", "": ""}.get(why, why))
    console.print(table)


def reproduce(commit: Commit, recompute: Recompute = False, tolerance: Tolerance = 0.02) -> None:
    """Restore a commit's results, or compute them again, and say of each whether it is what it was."""
    from flows.reproduce import reproduce

    if not reproduce(console, commit, recompute, tolerance):
        end("Not every output is what it was.", 1)


def gc(yes: Yes = False) -> None:
    """Show what neither a commit nor the working tree needs of cache and checkpoints, and free it."""
    from flows.housekeeping import free, unneeded

    found = unneeded()
    for line in found.lines():
        console.print(line, highlight=False)
    if found and (yes or typer.confirm("Free it?")):
        free(found)
