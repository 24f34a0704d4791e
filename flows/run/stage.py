"""The one Prefect task: run a node of the graph through DVC, and know how it ended.

`dvc --wait-for-lock repro --single-item STAGE` runs in a process group of its own. The flag stands before
`repro`; without it a stage that ends while another holds DVC's lock loses its finished work. DVC returns 255
both when it was busy and when the stage failed, so the stage's own word counts: .gradus/status/<stage>.json
(tasks/__init__.py). What the program says on stderr is shown; all it says goes to .gradus/logs/<stage>.log.
"""

import json
import os
import shutil
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
from flows.run import accelerator, description
from flows.run.console import RunConsole
from flows.run.errors import BusyError, StageError, StoppedError
from flows.run.process import LOGS, Program
from flows.run.scheduler import Scheduler
from pipelines import artifacts
from pipelines.runtime import tracking
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import FOLLOWED

STATUS = Path(".gradus/status")
BUSY = ("Unable to acquire lock", "is busy")
ECHO = "ERROR: failed to reproduce"
"""Begins what DVC adds when a stage has failed, which the stage itself has said better."""


@dataclass
class Run:
    """What the stages of one flow run share."""

    parent: tracking.Run
    bench: Scheduler
    screen: RunConsole
    cached: frozenset[str]
    force: bool


def busy(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether Prefect should try again: only when DVC was busy."""
    return isinstance(state.data, BusyError)


@task(cache_policy=NO_CACHE, retry_delay_seconds=3, retry_condition_fn=busy)
def run_stage(stage: Stage, run: Run) -> State[None]:
    """Run `stage`, unless it is up to date.

    Raises:
        StageError: it ran and failed.
        BusyError: DVC could not run it now.
        StoppedError: the flow run was stopped.
    """
    if stage.name in run.cached:
        run.screen.ended(stage.name, "cached")
        return Completed(name="Cached")
    try:
        with run.bench.place(stage), _accelerator(stage, run):
            restored = _run(stage, run)
    except StoppedError:
        run.screen.ended(stage.name, "stopped")
        raise
    except StageError:
        run.screen.ended(stage.name, "failed")
        raise
    run.screen.ended(stage.name, "cached" if restored else "done")
    return Completed(name="Cached") if restored else Completed()


def _accelerator(stage: Stage, run: Run) -> AbstractContextManager[None]:
    return accelerator.held(lambda: run.bench.stopping) if stage.gpu else nullcontext()


def _run(stage: Stage, run: Run) -> bool:
    """Run `stage` and tag its MLflow run; return whether DVC had its outputs already."""
    run.screen.running(stage.name)
    try:
        inputs = dvc_lock.prove(stage.name)
    except UserError as error:
        raise StageError(stage.name, str(error), user=True) from error
    said = STATUS / f"{stage.name}.json"
    said.unlink(missing_ok=True)
    try:
        restored = _repro(stage, run, inputs.key, said, run.force)
        if restored and dvc_cache.damaged(stage.name):
            run.screen.line(stage.name, "DVC's cache holds a damaged copy, which is dropped", True)
            restored = _repro(stage, run, inputs.key, said, force=True)
        shutil.rmtree(artifacts.CHECKPOINTS / stage.name / inputs.key, ignore_errors=True)  # DVC has what they led to
        return restored
    finally:
        tags = {"stage_key": inputs.key, "dvc_lock": dvc_lock.lock_hash()}
        tracking.conclude(run.parent, stage.name, tags, inputs.data, description.context(stage.name))


def _repro(stage: Stage, run: Run, key: str, said: Path, force: bool) -> bool:
    """Have DVC run `stage`; return whether it had its outputs already."""
    status, last = _follow(stage, run, key, force)
    return _ended(stage, run, status, last, _status(said))


def _follow(stage: Stage, run: Run, key: str, force: bool) -> tuple[int, list[str]]:
    """Run DVC, showing what it says; return its exit status and last lines."""
    flags = ["--single-item", *(["--force"] if force else [])]
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *flags, stage.name]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {tracking.PARENT: run.parent.id, artifacts.KEY: key, "PATH": path, "PYTHONUNBUFFERED": "1"}
    environment[FOLLOWED] = "1"
    last: deque[str] = deque(maxlen=20)
    program = Program(command, LOGS / f"{stage.name}.log", environment, followed=True)
    with (
        run.bench.watched(program),
        _limited(program, stage.timeout) as late,
    ):
        for line, stays in program.lines():
            last.append(line)
            if not line.startswith((ECHO, f"{stage.name}: ")):  # the run ends with that sentence
                run.screen.line(stage.name, line, stays)
                if stays:
                    get_run_logger().info("%s", line)
        status = program.wait()
    if late.is_set():
        raise StageError(
            stage.name,
            f"it took longer than {stage.timeout:.0f} s and was ended; if that is too short, raise its timeout in "
            "dvc.yaml (meta), and `gradus run` goes on.",
            user=True,
        )
    return status, list(last)


@contextmanager
def _limited(program: Program, seconds: float) -> Iterator[Event]:
    """End `program` after `seconds`, and tell that it was so by the event."""
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


def _ended(stage: Stage, run: Run, status: int, last: list[str], said: dict[str, Any]) -> bool:
    if run.bench.stopping and status != 0:
        raise StoppedError
    if status == 0:
        return not said
    if not said and any(word in line for line in last for word in BUSY):
        raise BusyError(last[-1])
    message = said.get("message") or (last[-1] if last else f"dvc ended with status {status}")
    log = "" if said.get("state") == "failed" else f" (see {LOGS / stage.name}.log)"
    raise StageError(stage.name, f"{message}{log}", user=said.get("state") == "failed")


def _status(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found
