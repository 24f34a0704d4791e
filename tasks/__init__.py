"""The tasks (DVC stages): one program each, with its inputs, outputs and logging. Imports no Prefect and no DVC.

`with task("dedup") as t:` is the protocol shared by all tasks. It provides validated parameters, complete inputs, an
empty output directory whose record is written last, and an MLflow run that ends with its true status. A UserError
is reported in one sentence with exit code 2. A training runs in the processes that `training.launch` asks for
(pipelines/models/parallel/launch.py).
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import artifacts, config
from pipelines.block import Block
from pipelines.runtime import code_lock, environment, liveness, outages, tracking
from pipelines.runtime.curve import Curve
from pipelines.runtime.progress import say

STATUS = Path(".gradus/status")
BEGUN, CURVE = "begun.json", "curve.jsonl"


@dataclass
class Task:
    """The context of a running task."""

    stage: str
    config: config.Config
    out: Path
    run: tracking.Run
    place: Path | None
    """Directory of checkpoints; None when no flow could resume from them."""
    record: dict[str, Any] = field(default_factory=dict)

    def input(self, name: str) -> Path:
        """Return the complete output directory `artifacts/<name>/`."""
        return artifacts.read(name)

    def report(self, suffix: str = ".html") -> Path:
        """Return the path of the stage's report (`.html`) or card (`.md`) for people."""
        artifacts.REPORTS.mkdir(parents=True, exist_ok=True)
        return artifacts.REPORTS / f"{self.stage}{suffix}"

    def finish(self, metrics: Mapping[str, float], **facts: Any) -> None:
        """Log the metrics and store them, with `facts`, in the record. Both must be reproducible."""
        self.run.metrics(metrics)
        self.record = {"stage": self.stage, "metrics": dict(metrics), **facts}


@contextmanager
def task(name: str, item: str | None = None, *, parallel: bool = False) -> Iterator[Task]:
    """Run the body as the task `name`, or as its instance `item`, as in `align dpo`.

    The body of a `parallel` task runs in each process of `training.launch`; all but rank 0 write to a temporary folder.
    """
    stage = f"{name}@{item}" if item else name
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    liveness.follow_the_flow()
    with _reported(stage):
        settings, code = config.load(), code_lock.check(name)
        row = settings.alignment.row(name, item)
        if parallel and settings.training.launch is not None and not environment.launched():
            from pipelines.models.parallel import launch  # imported here, because torch takes seconds

            launch.run(settings.training.launch, settings.compute)
            sys.exit()
        place = artifacts.place(stage)
        if environment.rank():
            with tempfile.TemporaryDirectory() as scratch:
                yield Task(stage, settings, Path(scratch), tracking.Unrecorded({}), place)
            return
        with (
            liveness.exclusive(stage),
            liveness.waiting(place) if place else nullcontext(),  # runs in worktrees share it
            tracking.started(stage, {"stage": stage}, _begun(place)) as run,
        ):
            if place is not None:
                artifacts.write_json(place / BEGUN, {"run_id": run.id})
            run.params(config.flat(_block(settings, name), name) | config.flat(settings.compute, "compute"))
            if row is not None:
                run.params(config.flat(row, "row"))
            out = artifacts.fresh(f"{name}/{item}" if item else name)
            current = Task(stage, settings, out, run, place)
            run.kept_curve = Curve(None if place is None else place / CURVE)
            with run.watched():
                yield current
            artifacts.write_json(artifacts.METRICS / f"{stage}.json", current.record.get("metrics", {}))
            if run.kept_curve.rows:
                run.kept_curve.write(artifacts.PLOTS / f"{stage}.csv")
            artifacts.complete(out, current.record)
        artifacts.write_json(artifacts.RUNS / f"{stage}.json", {"run_id": run.id, "code": code})


def _reported(stage: str) -> AbstractContextManager[None]:
    """Report how the stage ends: to the flow, or from a launched process to its launcher."""
    if not environment.launched():
        return _reported_to_flow(stage)
    from pipelines.models.parallel import launch

    return launch.reported_to_launcher()


@contextmanager
def _reported_to_flow(stage: str) -> Iterator[None]:
    """Write the stage's status, and exit with a fitting code."""
    _status(stage, state="running")
    try:
        yield
    except BaseException as error:
        if isinstance(error, SystemExit) and not error.code:  # launched processes did the work
            _status(stage, state="finished")
            raise
        sentence = outages.sentence(error)
        if sentence is None:
            _status(stage, state="crashed", message=f"{type(error).__name__}: {error}")
            if isinstance(error, KeyboardInterrupt):
                sys.exit(128 + signal.SIGINT)  # interrupted by the user: no traceback
            raise
        say(f"{stage}: {sentence}")
        _status(stage, state="failed", message=sentence)
        sys.exit(2)
    _status(stage, state="finished")


def _begun(place: Path | None) -> str | None:
    """Return the MLflow run of an earlier, interrupted attempt at this execution, if any."""
    if place is None or not (place / BEGUN).exists():
        return None
    return str(artifacts.read_json(place / BEGUN)["run_id"])


def _block(settings: config.Config, name: str) -> Block:
    block: Block = getattr(settings, name)
    return block


def _status(stage: str, **facts: Any) -> None:
    """Report the stage's status to the flow: DVC's exit code is the same for a busy lock and a failed stage."""
    STATUS.mkdir(parents=True, exist_ok=True)
    (STATUS / f"{stage}.json").write_text(json.dumps({"pid": os.getpid(), **facts}), encoding="utf-8")
