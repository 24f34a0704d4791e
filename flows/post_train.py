"""The main flow: from a folder of documents to a promoted model, with one Prefect task per stage of dvc.yaml.

Reads params.yaml and dvc.yaml and skips stages that are up to date. When a stage fails, the stages that do not depend
on it still run. Standalone: gradus run
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from prefect import Task, flow
from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun
from prefect.futures import PrefectFuture
from prefect.logging.handlers import APILogWorker
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner
from rich.console import Console

from flows.dag import dvc_lock, git_state, graph, staleness
from flows.preflight import check_stages
from flows.promotion.candidate import is_new
from flows.promotion.promote import Promotion, promote_candidate
from flows.run.console import RunConsole
from flows.run.errors import StageError
from flows.run.publish import published
from flows.run.recovery import recover
from flows.run.scheduler import Scheduler, cores
from flows.run.stage import Run, run_stage
from pipelines import artifacts
from pipelines.config import Config
from pipelines.runtime import liveness, tracking

FINAL = "compare"
"""The last stage of a whole run."""

RUNNER: Any = ThreadPoolTaskRunner(max_workers=64)  # the threads only wait; flows/run/scheduler.py limits concurrency


def post_train(
    settings: Config, console: Console, targets: list[str], force: bool, promoting: bool = True
) -> Promotion | None:
    """Run `targets` and their dependencies, then register and promote the best model, unless not `promoting`.

    Raises:
        StageError: a stage failed; the first failure is raised.
        KeyboardInterrupt: the run was stopped.
        UserError: the project cannot be run in its present state.
    """
    try:
        promotion: Any = _cancellable(settings, console, targets, force, promoting)
        return cast(Promotion | None, promotion)
    except CancelledRun as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        APILogWorker.drain_all(timeout=5)  # before the server stops, which may happen when this command ends


@flow(name="post_train", task_runner=RUNNER, validate_parameters=False)
def _cancellable(
    settings: Config, console: Console, targets: list[str], force: bool, promoting: bool
) -> Promotion | State[Any] | None:
    """Run the stages; report a stopped run to Prefect as cancelled, not crashed."""
    try:
        return _run(settings, console, targets, force, promoting)
    except KeyboardInterrupt:
        return Cancelled(message="Stopped. Finished stages are kept; the next run continues from there.")


def _run(settings: Config, console: Console, targets: list[str], force: bool, promoting: bool) -> Promotion | None:
    with liveness.exclusive("post_train"):
        recover(settings)
        stages = graph.read().towards(targets)
        check_stages((stage.name for stage in stages), settings)
        names = [stage.name for stage in stages]
        outdated = set(names) if force else stages.after(staleness.changes(stages))
        promoting = promoting and FINAL in names
        recorded = bool(outdated) or (promoting and is_new(settings))
        with _tracked(recorded) as parent, published(parent, targets, settings) as page:
            page.states = _stages(stages, settings, console, parent, outdated, force)
            page.promotion = promote_candidate(parent, settings) if promoting else None
            return page.promotion


def _tracked(recorded: bool) -> AbstractContextManager[tracking.Run]:
    """Open the flow's MLflow run; nothing is recorded when there is nothing to compute or register."""
    tags = {**git_state.tags(), "flow": "post_train"}
    return tracking.started("post_train", tags) if recorded else nullcontext(tracking.Unrecorded(tags))


def _stages(
    stages: graph.Graph, settings: Config, console: Console, parent: tracking.Run, outdated: set[str], force: bool
) -> dict[str, str]:
    """Run the stages that are `outdated`; return the final Prefect state of each stage."""
    scheduler = Scheduler(cores(settings.compute.threads))
    names = [stage.name for stage in stages]
    with scheduler.interruptible():
        with RunConsole(console, names) as display:
            display.skipped(set(names) - outdated)
            run = Run(parent, scheduler, display, frozenset(names) - outdated, force)
            states = submit(stages, run)
        link(run)
    if scheduler.stopping:
        raise KeyboardInterrupt
    _raise_first(states, console)
    return {name: str(state.name).lower() for name, state in zip(names, states, strict=True)}


def _raise_first(states: list[State[Any]], console: Console) -> None:
    """Raise the first failure after printing the others, which are reported nowhere else."""
    failures = [state for state in states if state.is_failed() or state.is_crashed()]
    for state in failures[1:]:
        error = state.result(raise_on_failure=False)
        if isinstance(error, StageError):
            console.print(f"{error.stage}: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    if failures:
        failures[0].result()  # raises the stage's exception


def submit(stages: graph.Graph, run: Run) -> list[State[Any]]:
    """Submit all stages, each waiting for its parents; return their final states in graph order."""
    futures: dict[str, PrefectFuture[Any]] = {}
    for stage in stages:
        stage_task: Task[..., Any] = run_stage.with_options(name=stage.name, retries=stage.retries)
        futures[stage.name] = stage_task.submit(stage, run, wait_for=[futures[parent] for parent in stage.parents])
    for future in futures.values():
        future.wait()
    return [future.state for future in futures.values()]


def link(run: Run) -> None:
    """Tag the flow's MLflow run with the run that originally computed each cached stage."""
    computed = {stage: artifacts.RUNS / f"{stage}.json" for stage in sorted(run.cached)}
    run.parent.tags(  # MLflow does not allow @ in tag names
        {
            f"cached.{stage.replace('@', '/')}": artifacts.read_json(path)["run_id"]
            for stage, path in computed.items()
            if path.exists()
        }
    )
    run.parent.tags({"dvc_lock": dvc_lock.lock_hash()})
    if dvc_lock.LOCK.exists():
        run.parent.artifact(dvc_lock.LOCK)  # lists all inputs and outputs of this run (flows/commands/runs.py)
