"""The front door: from a folder of documents to a promoted model, one Prefect task per stage of dvc.yaml.

Reads params.yaml and dvc.yaml; what is up to date is not started. When a stage fails, those that do not
need it still finish. Alone: gradus run
"""

from typing import Any

from prefect import Task, flow
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from rich.console import Console

from flows import accelerator, graph, ledger, lineage
from flows.bench import Bench, cores
from flows.mend import mend, remove_leftovers
from flows.preflight import check_stages
from flows.process import end_orphans
from flows.promote import Promotion, promote_candidate
from flows.screen import Screen
from flows.stage import Run, run_stage
from pipelines import alive, artifacts, tracking
from pipelines.config import Config

FINAL = "compare"
"""The stage a whole run ends with."""

RUNNER: Any = ThreadPoolTaskRunner(max_workers=64)  # threads wait; flows/bench.py admits


@flow(name="post_train", task_runner=RUNNER, validate_parameters=False)
def post_train(
    settings: Config, console: Console, targets: list[str], force: bool, promoting: bool = True
) -> Promotion | None:
    """Run `targets` and what they need, then register and promote what won, unless not `promoting`.

    Raises:
        StageError: a stage failed; the first one's failure.
        KeyboardInterrupt: the run was stopped.
        UserError: the project cannot be run as it is.
    """
    mend()
    remove_leftovers(settings.evaluate.models)
    stages = graph.read().towards(targets)
    check_stages((stage.name for stage in stages), settings)
    bench = Bench(cores(settings.compute.threads))
    names = [stage.name for stage in stages]
    end_orphans()
    tracking.reap()
    alive.sweep()
    accelerator.offer()
    with alive.alone("post_train"), tracking.started("post_train", lineage.tags()) as parent:
        with bench.interruptible():
            outdated = set(names) if force else stages.after(ledger.changes(stages))
            with Screen(console, names) as screen:
                run = Run(parent, bench, screen, frozenset(names) - outdated, force)
                states = submit(stages, run)
            link(run)
        if bench.stopping:
            raise KeyboardInterrupt
        for state in states:
            if state.is_failed() or state.is_crashed():
                state.result()  # raises what went wrong
        return promote_candidate(parent, settings) if promoting and FINAL in names else None


def submit(stages: graph.Graph, run: Run) -> list[State[Any]]:
    """Submit every stage, each waiting on its parents; return how each ended, in the order of the graph."""
    futures: dict[str, PrefectFuture[Any]] = {}
    for stage in stages:
        one: Task[..., Any] = run_stage.with_options(name=stage.name, retries=stage.retries)
        futures[stage.name] = one.submit(stage, run, wait_for=[futures[parent] for parent in stage.parents])
    for future in futures.values():
        future.wait()
    return [future.state for future in futures.values()]


def link(run: Run) -> None:
    """Name, on the flow's MLflow run, the run that once computed each cached stage."""
    computed = {stage: artifacts.RUNS / f"{stage}.json" for stage in sorted(run.cached)}
    run.parent.tags(  # MLflow allows no @ in the name of a tag
        {
            f"cached.{stage.replace('@', '/')}": artifacts.read_json(path)["run_id"]
            for stage, path in computed.items()
            if path.exists()
        }
    )
    run.parent.tags({"dvc_lock": ledger.lock_hash()})
