"""Commands that run stages or report on runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.app import console, end, prefect
from flows.run.errors import StageError

Stages = Annotated[
    list[str] | None, typer.Argument(help="Only these stages and their dependencies; by default all stages.")
]
Revision = Annotated[
    str | None, typer.Option("--rev", help="Run this commit in a worktree; the result is on the branch runs/ID.")
]
NoPromote = Annotated[
    bool,
    typer.Option("--no-promote", help="Do not register or promote a model; its test counts as an opening."),
]
Force = Annotated[bool, typer.Option("--force", help="Run stages even if they are up to date.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Run HEAD (or --rev) in a worktree with this parameter changed."),
]
CommitLock = Annotated[bool, typer.Option("--commit", help="Commit dvc.lock after the run.")]
Commit = Annotated[str | None, typer.Argument(help="Commit with a dvc.lock, such as a branch runs/ID.")]
Version = Annotated[int | None, typer.Option("--version", help="Use the commit of this registered version.")]
Only = Annotated[str | None, typer.Option("--stages", help="Only these stages, separated by commas.")]
Recompute = Annotated[bool, typer.Option("--recompute", help="Recompute every stage instead of restoring its outputs.")]
Tolerance = Annotated[float, typer.Option(help="Relative tolerance for metrics of outputs whose bytes differ.")]
Keep = Annotated[
    int, typer.Option(min=1, help="Number of latest versions that keep their weights, in addition to aliased ones.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def run(
    stages: Stages = None,
    force: Force = False,
    rev: Revision = None,
    sets: Sets = None,
    no_promote: NoPromote = False,
    commit: CommitLock = False,
) -> None:
    """Run the pipeline: run stages that changed, register the best model and promote it if it passes the gate."""
    if rev is not None or sets:
        if commit:
            end("--commit commits dvc.lock of the working tree; a run with --rev or --set commits it to a branch.", 2)
        from flows.commands import run_at_commit

        sys.exit(run_at_commit.run(console, rev, stages or [], force, no_promote, sets or []))
    from flows.preflight import check
    from pipelines.runtime import liveness

    settings = check()
    _check_names(stages or [])
    liveness.follow_the_flow()  # in a worktree, the command that created it
    try:
        with prefect() as ready:
            from flows.commands.status import openings
            from flows.post_train import post_train
            from flows.run.summary import show

            ready()
            promotion = post_train(settings, console, stages or [], force, not no_promote)
    except KeyboardInterrupt:
        end("Stopped. Finished stages are kept; run `gradus run` to continue.", 130)
    except StageError as failure:
        end(f"{failure.stage}: {failure}", 2 if failure.user else 1)
    if promotion is not None:
        show(console, promotion)
    elif no_promote and (used := openings(settings.compare.openings)):
        console.print(str(used), highlight=False)
    from flows.dag.provenance import keep_lock

    keep_lock(console, commit)


def _check_names(stages: list[str]) -> None:
    """Reject unknown stages before Prefect's server starts."""
    if not stages:
        return
    from flows.dag import graph
    from flows.dag.repair import repair
    from pipelines.runtime import liveness

    with liveness.exclusive("post_train"):
        repair()  # a truncated dvc.lock cannot be read
        graph.read().towards(stages)


def loop(
    kind: Annotated[str, typer.Argument(help="dpo, spin, self-rewarding, rlaif or rlaif-direct.")],
    rounds: Annotated[int, typer.Option(min=1, help="Maximum number of rounds.")] = 3,
    policy: Annotated[str, typer.Option(help="The model that the first round starts from.")] = "sft",
) -> None:
    """Align in rounds, each on samples of the model before, while the validation score rises."""
    from flows.rounds import first, loop
    from pipelines.runtime import liveness

    first(kind, policy)  # refuses bad arguments before Prefect's server starts
    liveness.follow_the_flow()
    try:
        with prefect() as ready:
            from flows.post_train import post_train

            ready()
            loop(console, kind, rounds, policy, lambda settings, targets: post_train(settings, console, targets, False))
    except KeyboardInterrupt:
        end("Stopped. Finished stages are kept; the same command continues.", 130)
    except StageError as failure:
        end(f"{failure.stage}: {failure}", 2 if failure.user else 1)
    from flows.dag.provenance import keep_lock

    keep_lock(console, False)


def status() -> None:
    """Show the present run and its time left, or what would run and why; the champion; server addresses."""
    from flows.commands.status import show
    from flows.folder import check_names, check_repository
    from pipelines import config

    check_repository()
    settings = config.load()
    check_names(settings.ingest.source)
    show(console, settings)


def accept(
    stage: Annotated[str, typer.Argument(help="Stage of dvc.yaml; for a repeated stage, the name before the @.")],
    reason: Annotated[str, typer.Option(help="Why the results are the same; stored in code.lock.yaml.")],
) -> None:
    """Keep a stage's results after a code change that does not affect them."""
    from flows.commands.accept import accept

    accept(stage, reason)
    console.print(f"{stage} keeps its results. Commit code.lock.yaml with the code change.", highlight=False)


def reproduce(
    commit: Commit = None,
    version: Version = None,
    stages: Only = None,
    recompute: Recompute = False,
    tolerance: Tolerance = 0.02,
) -> None:
    """Restore or recompute a commit's results, and report for each output whether it matches dvc.lock."""
    from flows.commands.reproduce import reproduce
    from flows.dag.provenance import commit_of

    if (commit is None) == (version is None):
        end("Give either a commit or a --version.", 2)
    names = [name.strip() for name in (stages or "").split(",") if name.strip()]
    if not reproduce(console, commit or commit_of(version or 0), recompute, tolerance, names):
        end("Not every output could be reproduced.", 1)


def runs() -> None:
    """List whole runs: date, commit, candidate, metrics, and whether the candidate was promoted."""
    from flows.commands.runs import table, whole_runs

    console.print(table(whole_runs()))


def compare(
    results: Annotated[
        list[str] | None, typer.Argument(metavar="A B", help="Runs, versions or commits; by default the last two runs.")
    ] = None,
) -> None:
    """Compare two results: inputs, metrics with intervals, and questions whose verdict changed."""
    from flows.commands.compare import compare
    from pipelines import config

    settings = config.load()
    compare(console, results or [], settings.compare, settings.compute.seed)


def tune(
    stage: Annotated[str, typer.Argument(help="The training to tune: sft.")],
    minutes: Annotated[float, typer.Option(help="Time of the whole search.")] = 30.0,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=LOW:HIGH[:log]",
            help="Search this parameter; by default learning rate, rank and epochs around their present values.",
        ),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="End when so many trials have ended.")] = None,
    to: Annotated[Path, typer.Option(help="Recipe to write.")] = Path("tuned.yaml"),
) -> None:
    """Search for better hyper-parameters of a training within a budget of time, and write them as a recipe."""
    from flows.tuning.arguments import check

    check(stage, minutes, to)
    from flows.tuning.tune import tune

    try:
        tune(console, stage, minutes, search or [], trials, to)
    except KeyboardInterrupt:
        end("Stopped. The trials so far are kept; the same command continues.", 130)


def gc(yes: Yes = False, keep: Keep = 5) -> None:
    """Show and remove unused cache objects, checkpoints and registered weights."""
    from flows.commands.gc import free, unneeded, without_runs

    with without_runs():
        garbage = unneeded(keep)
        for line in garbage.lines():
            console.print(line, markup=False, highlight=False)
        if garbage and (yes or typer.confirm("Remove them?")):
            free(garbage)
