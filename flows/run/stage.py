"""The Prefect task that runs one stage of the graph through DVC and determines its outcome.

`dvc --wait-for-lock repro --single-item STAGE` runs in its own process group. The flag must precede `repro`; without
it a stage that finishes while another process holds DVC's lock loses its results. DVC returns 255 both when it was
busy and when the stage failed, so the outcome is read from .gradus/status/<stage>.json (tasks/__init__.py). The
program's stderr is shown; its whole output goes to .gradus/logs/<stage>.log.
"""

import json
import os
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Timer
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.dag import dvc_cache, dvc_lock
from flows.dag.graph import Stage
from flows.run import accelerator, description, ended_runs
from flows.run.console import RunConsole
from flows.run.errors import BusyError, StageError, StoppedError
from flows.run.process import LOGS, Program
from flows.run.scheduler import Scheduler
from pipelines import artifacts
from pipelines.runtime import liveness, tracking
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import FOLLOWED

STATUS = Path(".gradus/status")
BUSY = ("Unable to acquire lock", "is busy")
ECHO = "ERROR: failed to reproduce"
"""Prefix of DVC's own line about a failed stage, which is redundant to the message of the stage."""


@dataclass
class Run:
    """State shared by the stages of one flow run."""

    parent: tracking.Run
    scheduler: Scheduler
    display: RunConsole
    cached: frozenset[str]
    force: bool


def busy(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Return whether Prefect should retry: only when DVC was busy."""
    return isinstance(state.data, BusyError)


@task(cache_policy=NO_CACHE, retry_delay_seconds=3, retry_condition_fn=busy)
def run_stage(stage: Stage, run: Run) -> State[None]:
    """Run `stage`, unless it is up to date.

    Raises:
        StageError: the stage failed.
        BusyError: DVC was busy.
        StoppedError: the flow run was stopped.
    """
    if stage.name in run.cached:
        run.display.ended(stage.name, "cached")
        return Completed(name="Cached")
    try:
        with run.scheduler.place(stage), _accelerator(stage, run):
            restored = _run(stage, run)
    except StoppedError:
        run.display.ended(stage.name, "stopped")
        raise
    except StageError:
        run.display.ended(stage.name, "failed")
        raise
    run.display.ended(stage.name, "cached" if restored else "done")
    return Completed(name="Cached") if restored else Completed()


def _accelerator(stage: Stage, run: Run) -> AbstractContextManager[None]:
    return accelerator.held(lambda: run.scheduler.stopping) if stage.gpu else nullcontext()


def _run(stage: Stage, run: Run) -> bool:
    """Run `stage` and tag its MLflow run; return whether DVC restored its outputs from the cache."""
    run.display.running(stage.name)
    try:
        inputs = dvc_lock.prove(stage.name)
    except UserError as error:
        raise StageError(stage.name, str(error), user=True) from error
    status_file = STATUS / f"{stage.name}.json"
    status_file.unlink(missing_ok=True)
    try:
        restored = _repro(stage, run, inputs.key, status_file, run.force)
        if restored and dvc_cache.damaged(stage.name):
            run.display.line(stage.name, "DVC's cache holds a damaged copy; removed, running the stage again", True)
            restored = _repro(stage, run, inputs.key, status_file, force=True)
        liveness.remove_unless_held(artifacts.CHECKPOINTS / stage.name / inputs.key)  # DVC has the result
        return restored
    finally:
        tags = {"stage_key": inputs.key, "dvc_lock": dvc_lock.lock_hash()}
        ended_runs.conclude(run.parent, stage.name, tags, inputs.data, description.context(stage.name))


def _repro(stage: Stage, run: Run, key: str, status_file: Path, force: bool) -> bool:
    """Run `dvc repro` on `stage`; return whether DVC restored its outputs from the cache."""
    status, last = _follow(stage, run, key, force)
    return _outcome(stage, run, status, last, _status(status_file))


def _follow(stage: Stage, run: Run, key: str, force: bool) -> tuple[int, list[str]]:
    """Run DVC, showing its output; return its exit status and last lines."""
    flags = ["--single-item", *(["--force"] if force else [])]
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *flags, stage.name]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {tracking.PARENT: run.parent.id, artifacts.KEY: key, "PATH": path, "PYTHONUNBUFFERED": "1"}
    environment[FOLLOWED] = "1"
    last: deque[str] = deque(maxlen=20)
    program = Program(command, LOGS / f"{stage.name}.log", environment, followed=True)
    with (
        run.scheduler.watched(program),
        _limited(program, stage.timeout) as late,
    ):
        for line, stays in program.lines():
            last.append(line)
            if not line.startswith((ECHO, f"{stage.name}: ")):  # printed when the run ends
                run.display.line(stage.name, line, stays)
                if stays:
                    get_run_logger().info("%s", line)
        status = program.wait()
    if late.is_set():
        raise StageError(
            stage.name,
            f"it took longer than {stage.timeout:.0f} s and was stopped; raise its timeout in dvc.yaml (meta) if that "
            "is too short, and run `gradus run` to continue.",
            user=True,
        )
    return status, list(last)


@contextmanager
def _limited(program: Program, seconds: float) -> Iterator[Event]:
    """Stop `program` after `seconds` and set the event."""
    late = Event()

    def end() -> None:
        late.set()
        program.stop()

    timer = Timer(seconds, end)
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _outcome(stage: Stage, run: Run, status: int, last: list[str], reported: dict[str, Any]) -> bool:
    """Return whether DVC restored the outputs; raise the exception that fits a failure."""
    if run.scheduler.stopping and status != 0:
        raise StoppedError
    if status == 0:
        return not reported
    if not reported and any(word in line for line in last for word in BUSY):
        raise BusyError(last[-1])
    message = reported.get("message") or (last[-1] if last else f"dvc exited with status {status}")
    log = "" if reported.get("state") == "failed" else f" (see {LOGS / stage.name}.log)"
    raise StageError(stage.name, f"{message}{log}", user=reported.get("state") == "failed")


def _status(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found
