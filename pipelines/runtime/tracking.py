"""MLflow tracking: runs with their parameters, metrics and artifacts.

A flow run is a parent run, and each stage that ran is a child run, linked by GRADUS_PARENT_RUN, which does not
affect results.
"""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from pipelines.runtime import environment, liveness, tracking_store
from pipelines.runtime.curve import Curve
from pipelines.runtime.errors import UserError

PARENT = "GRADUS_PARENT_RUN"
UNWATCHED = 60.0  # seconds of a run before system metrics are logged
LINEAGE = ("commit", "dirty", "flow_run")
SOURCE = (
    "mlflow.user",
    "mlflow.source.name",
    "mlflow.source.type",
    "mlflow.source.git.commit",
    "mlflow.source.git.branch",
)
"""The tags of MLflow's columns (user, source, version), which stages inherit from their flow's run."""
BATCH = 100  # maximum parameters or tags per MLflow request
MARK = "alive"
"""The tag with the lease file of a run's process (pipelines/runtime/liveness.py)."""


@contextmanager
def _fluent() -> Iterator[None]:
    """Point MLflow's fluent API at the store, and remove the environment variable that MLflow sets for it."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(tracking_store.address())
    try:
        yield
    finally:
        if given is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)


class Run:
    """One MLflow run: parameters, metrics, tags and artifacts."""

    def __init__(self, store: MlflowClient, run_id: str, logged: Mapping[str, int] | None = None) -> None:
        """Write to the run `run_id` of `store`; `logged` is the last step already logged for each metric."""
        self.store, self.id, self.logged = store, run_id, logged or {}
        self.kept_curve: Curve | None = None

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; long values are truncated, since MLflow rejects them."""
        entries = [Param(key, str(value)[:500]) for key, value in values.items()]
        for start in range(0, len(entries), BATCH):
            self.store.log_batch(self.id, params=entries[start : start + BATCH])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self.store.log_batch(self.id, tags=[RunTag(key, value[:5000]) for key, value in values.items()])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at `step`, except those that a resumed run has already logged.

        Raises:
            UserError: a value is NaN or infinite.
        """
        for key, value in values.items():
            if not math.isfinite(value):
                advice = "inspect the data or, if the stage trains, lower its learning rate"
                raise UserError(f"{key} became {value} at step {step}; {advice}.")
        now = int(1000 * time.time())
        new = {key: float(value) for key, value in values.items() if step > self.logged.get(key, -1)}
        self.store.log_batch(self.id, metrics=[Metric(key, value, now, step) for key, value in new.items()])

    def curve(self, values: Mapping[str, float], step: int) -> None:
        """Log training metrics at `step`, apart from the stage's final metrics: under `train/`, but for validations."""
        if self.kept_curve is not None:
            self.kept_curve.add(values, step)
        named = {key if key.startswith("validation/") else f"train/{key}": value for key, value in values.items()}
        self.metrics(named, step)

    def page(self, name: str, description: str) -> None:
        """Set the run's name, and the Markdown description at the top of its MLflow page."""
        self.store.update_run(self.id, name=name)
        self.tags({"mlflow.note.content": description})

    def inputs(self, hashes: Mapping[str, str], context: str) -> None:
        """Log the data sets that the run read (path and DVC hash), with the context of their use."""
        tag = [InputTag("mlflow.data.context", context)]
        datasets = [
            DatasetInput(Dataset(path, digest, "dvc", json.dumps({"path": path})), tag)
            for path, digest in hashes.items()
        ]
        self.store.log_inputs(self.id, datasets=datasets)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Log system metrics (CPU, memory, disk, network, GPU) every ten seconds within the context.

        Logging starts after a minute: shorter runs need no system metrics.
        """
        monitors: list[SystemMetricsMonitor] = []

        def begin() -> None:
            monitors.append(SystemMetricsMonitor(self.id, resume_logging=True, tracking_uri=tracking_store.address()))
            monitors[0].start()

        timer = Timer(UNWATCHED, begin)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            for monitor in monitors:
                monitor.finish()

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file or a directory as an artifact."""
        if path.is_dir():
            self.store.log_artifacts(self.id, str(path), folder)
        else:
            self.store.log_artifact(self.id, str(path), folder)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Log rows as a table, which MLflow can display and compare across runs."""
        table = {column: [_cell(row.get(column)) for row in rows] for column in columns}
        self.store.log_table(self.id, table, name)

    def record(self, name: str, value: Any) -> None:
        """Log a value as a JSON file."""
        self.store.log_text(self.id, json.dumps(value, indent=1, ensure_ascii=False), name)

    def model(self, parts: Mapping[str, Any], settings: Mapping[str, Any], requirements: list[str]) -> tuple[str, str]:
        """Log a whole chat model (`model` and `tokenizer`); return its URI and id.

        `settings` apply to every generation. Weights must be merged: a PEFT model would load with newly initialised
        adapters.
        """
        with _fluent(), mlflow.start_run(run_id=self.id):
            logged = mlflow.transformers.log_model(
                dict(parts),
                name="model",
                task="llm/v1/chat",
                model_config=dict(settings),
                pip_requirements=requirements,
            )
        return str(logged.model_uri), str(logged.model_id)

    def lineage(self) -> dict[str, str]:
        """Return the tags with the run's provenance."""
        tags: dict[str, str] = self.store.get_run(self.id).data.tags
        return {key: tags[key] for key in LINEAGE if key in tags}

    def end(self, status: str) -> None:
        """Set the final status: FINISHED, FAILED or KILLED."""
        self.store.set_terminated(self.id, status)


def _cell(value: Any) -> Any:
    return "; ".join(map(str, value)) if isinstance(value, list) else value


class Unrecorded(Run):
    """A null run: for a flow with nothing to compute, and a training's processes other than rank 0."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        """Store the tags that the run would have; its id is empty."""
        super().__init__(tracking_store.client(), "")
        self.given = tags

    def _ignored(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    params = page = inputs = tags = metrics = artifact = table = record = _ignored

    def lineage(self) -> dict[str, str]:
        """Return the provenance from the given tags."""
        return {key: self.given[key] for key in LINEAGE if key in self.given}


@contextmanager
def started(name: str, tags: Mapping[str, str], begun: str | None = None) -> Iterator[Run]:
    """Start a run, or resume the run `begun`, and end it with its true status.

    The run is a child of GRADUS_PARENT_RUN if that is set.
    """
    store = tracking_store.client()
    everything = {**environment.facts(), **tags, **_inherited(store), MARK: str(liveness.lease())}
    run = _resumed(store, begun, everything) if begun else None
    if run is None:
        run = Run(store, store.create_run(tracking_store.experiment(store), run_name=name, tags=everything).info.run_id)
    try:
        yield run
        run.end("FINISHED")
    except BaseException as error:
        try:
            run.end("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED")
        except MlflowException:  # report the original error
            liveness.keep_lease_file()  # so that the next flow ends this run (end_stale_runs)
        raise


def _resumed(store: MlflowClient, begun: str, tags: Mapping[str, str]) -> Run | None:
    """Resume an interrupted run; return None if it ended by itself, or does not exist."""
    try:
        previous = store.get_run(begun)
    except MlflowException:
        return None
    if previous.info.status not in ("RUNNING", "KILLED"):
        return None
    data = previous.data
    run = Run(store, begun, {key: store.get_metric_history(begun, key)[-1].step for key in data.metrics})
    store.update_run(begun, status="RUNNING")
    run.tags({**tags, "resumed": str(int(data.tags.get("resumed", "0")) + 1)})
    return run


def _inherited(store: MlflowClient) -> dict[str, str]:
    """Return the tags that a child run inherits from its parent: parent id, provenance and source."""
    parent = os.environ.get(PARENT)
    if not parent:
        return {}
    tags = store.get_run(parent).data.tags
    return {"mlflow.parentRunId": parent, **{key: tags[key] for key in (*LINEAGE, *SOURCE) if key in tags}}
