"""MLflow, and the only module that imports it: runs, their parameters, metrics and artefacts.

The store is `mlruns/mlflow.db` (SQLite) with files in `mlruns/artifacts/`, unless MLFLOW_TRACKING_URI names
another. A flow run is a parent run and each stage that ran is a child, found through GRADUS_PARENT_RUN, which
changes no result.
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

os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")  # half a minute; the default waits for four

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from pipelines.runtime import environment, liveness, store_location
from pipelines.runtime.curve import Curve
from pipelines.runtime.errors import UserError
from pipelines.runtime.store_location import STORE as STORE  # whoever asks for the store asks here

EXPERIMENT = "gradus"
PARENT = "GRADUS_PARENT_RUN"
UNWATCHED = 60.0  # seconds of a run in which the machine is not looked at
LINEAGE = ("commit", "dirty", "flow_run")
SOURCE = (
    "mlflow.user",
    "mlflow.source.name",
    "mlflow.source.type",
    "mlflow.source.git.commit",
    "mlflow.source.git.branch",
)
"""The tags of MLflow's own columns (user, source, version), which stages take from their flow's run."""
BATCH = 100  # parameters, tags that MLflow takes at once
MARK = "alive"
"""The tag that names the mark which a run's process holds (pipelines/runtime/liveness.py)."""


def address() -> str:
    """Return where the store is; the folder it lies in is created."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    return f"sqlite:///{store_location.store() / 'mlflow.db'}"


def client() -> MlflowClient:
    """Return a client of the store, which is created when it is not there."""
    return MlflowClient(address())


@contextmanager
def _fluent() -> Iterator[None]:
    """Point MLflow's module-level functions at the store, and forget the variable that MLflow sets for it."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(address())
    try:
        yield
    finally:
        if given is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)


def experiment(store: MlflowClient) -> str:
    """Return the id of Gradus's experiment, created when it is not there, its files in mlruns/artifacts/."""
    found = store.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    if os.environ.get(store_location.GIVEN):
        return str(store.create_experiment(EXPERIMENT))
    made = str(store.create_experiment(EXPERIMENT, artifact_location=(store_location.store() / "artifacts").as_uri()))
    store_location.repair()  # MLflow makes every local address absolute
    return made


class Run:
    """One MLflow run: what was set, what was measured, what was made."""

    def __init__(self, store: MlflowClient, run_id: str, logged: Mapping[str, int] | None = None) -> None:
        """Write to the run `run_id` of `store`; `logged` is the last step that each metric has already."""
        self.store, self.id, self.logged = store, run_id, logged or {}
        self.kept_curve: Curve | None = None

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; long values are cut, as MLflow refuses them."""
        entries = [Param(key, str(value)[:500]) for key, value in values.items()]
        for start in range(0, len(entries), BATCH):
            self.store.log_batch(self.id, params=entries[start : start + BATCH])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self.store.log_batch(self.id, tags=[RunTag(key, value[:5000]) for key, value in values.items()])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at `step`, but those that a run which goes on has logged before.

        Raises:
            UserError: one of them is NaN or infinite.
        """
        for key, value in values.items():
            if not math.isfinite(value):
                raise UserError(f"{key} became {value} at step {step}; lower the learning rate or inspect the data.")
        now = int(1000 * time.time())
        new = {key: float(value) for key, value in values.items() if step > self.logged.get(key, -1)}
        self.store.log_batch(self.id, metrics=[Metric(key, value, now, step) for key, value in new.items()])

    def curve(self, values: Mapping[str, float], step: int) -> None:
        """Log what a training measured at `step`, apart from what the stage measured in the end."""
        if self.kept_curve is not None:
            self.kept_curve.add(values, step)
        self.metrics({f"train/{key}": value for key, value in values.items()}, step)

    def page(self, name: str, description: str) -> None:
        """Set the run's name, and the Markdown that its page in MLflow begins with."""
        self.store.update_run(self.id, name=name)
        self.tags({"mlflow.note.content": description})

    def inputs(self, hashes: Mapping[str, str], context: str) -> None:
        """Log the data sets that the run read, path and DVC's hash of each, with what they were read for."""
        tag = [InputTag("mlflow.data.context", context)]
        found = [
            DatasetInput(Dataset(path, digest, "dvc", json.dumps({"path": path})), tag)
            for path, digest in hashes.items()
        ]
        self.store.log_inputs(self.id, datasets=found)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Log what the machine does meanwhile, every ten seconds: processors, memory, disk, network, GPU.

        It begins after a minute: what is shorter than that has nothing to show.
        """
        monitors: list[SystemMetricsMonitor] = []

        def begin() -> None:
            monitors.append(SystemMetricsMonitor(self.id, resume_logging=True, tracking_uri=address()))
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
        """Keep a file or a directory with the run."""
        if path.is_dir():
            self.store.log_artifacts(self.id, str(path), folder)
        else:
            self.store.log_artifact(self.id, str(path), folder)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Keep rows with the run, as a table that MLflow's pages show and compare across runs."""
        table = {column: [_cell(row.get(column)) for row in rows] for column in columns}
        self.store.log_table(self.id, table, name)

    def record(self, name: str, value: Any) -> None:
        """Keep a value with the run, as a file of JSON."""
        self.store.log_text(self.id, json.dumps(value, indent=1, ensure_ascii=False), name)

    def model(self, parts: Mapping[str, Any], settings: Mapping[str, Any], requirements: list[str]) -> tuple[str, str]:
        """Keep a whole chat model (`model` and `tokenizer`) with the run; return its address and id.

        `settings` go to every generation. Weights must be merged: a PEFT model would load with fresh ones.
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
        """Return the tags that say where the run came from."""
        tags: dict[str, str] = self.store.get_run(self.id).data.tags
        return {key: tags[key] for key in LINEAGE if key in tags}

    def end(self, status: str) -> None:
        """Set the final status: FINISHED, FAILED or KILLED."""
        self.store.set_terminated(self.id, status)


def _cell(value: Any) -> Any:
    return "; ".join(map(str, value)) if isinstance(value, list) else value


class Unrecorded(Run):
    """What stands for the run of a flow that has nothing to compute: MLflow is not written to."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        """Take the tags that the run would have."""
        super().__init__(client(), "")
        self.given = tags

    def params(self, values: Mapping[str, Any]) -> None:
        """Log no parameter."""

    def page(self, name: str, description: str) -> None:
        """Name nothing."""

    def inputs(self, hashes: Mapping[str, str], context: str) -> None:
        """Log no data set."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Set no tag."""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log no number."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep no file."""

    def lineage(self) -> dict[str, str]:
        """Return the tags that say where the run comes from."""
        return {key: self.given[key] for key in LINEAGE if key in self.given}


@contextmanager
def started(name: str, tags: Mapping[str, str], begun: str | None = None) -> Iterator[Run]:
    """Open a run, or go on with the one that was `begun`, and end it with its true status.

    It is a child of GRADUS_PARENT_RUN when that is set.
    """
    store = client()
    everything = {**environment.facts(), **tags, **_inherited(store), MARK: str(liveness.lease())}
    run = _again(store, begun, everything) if begun else None
    if run is None:
        run = Run(store, store.create_run(experiment(store), run_name=name, tags=everything).info.run_id)
    try:
        yield run
        run.end("FINISHED")
    except BaseException as error:
        try:
            run.end("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED")
        except MlflowException:  # the first error is the one to tell
            liveness.stay()  # so that the next run ends this one (reap)
        raise


def _again(store: MlflowClient, begun: str, tags: Mapping[str, str]) -> Run | None:
    """Return a run that was interrupted, running again; None when it ended by itself, or is not there."""
    try:
        found = store.get_run(begun)
    except MlflowException:
        return None
    if found.info.status not in ("RUNNING", "KILLED"):
        return None
    data = found.data
    run = Run(store, begun, {key: store.get_metric_history(begun, key)[-1].step for key in data.metrics})
    store.update_run(begun, status="RUNNING")
    run.tags({**tags, "resumed": str(int(data.tags.get("resumed", "0")) + 1)})
    return run


def _inherited(store: MlflowClient) -> dict[str, str]:
    """The tags a child takes from its parent: what it belongs to, and where that came from."""
    parent = os.environ.get(PARENT)
    if not parent:
        return {}
    tags = store.get_run(parent).data.tags
    return {"mlflow.parentRunId": parent, **{key: tags[key] for key in (*LINEAGE, *SOURCE) if key in tags}}


def conclude(parent: Run, stage: str, tags: Mapping[str, str], inputs: Mapping[str, str], context: str) -> None:
    """Tag the runs of `stage` below `parent`, and log their inputs with their `context`.

    Its program has ended, so a run that says RUNNING was killed.
    """
    where = f"tags.`mlflow.parentRunId` = '{parent.id}' and tags.stage = '{stage}'"
    for found in parent.store.search_runs([experiment(parent.store)], where):
        run = Run(parent.store, found.info.run_id)
        run.tags(tags)
        run.inputs(inputs, context)
        if found.info.status == "RUNNING":
            run.end("KILLED")


def end_stale_runs() -> None:
    """End every run that says RUNNING although its process is dead.

    A mark that is not there is another machine's, where it may well be held.
    """
    store = client()
    for found in store.search_runs([experiment(store)], "attributes.status = 'RUNNING'"):
        mark = Path(found.data.tags.get(MARK, ""))
        if mark.is_file() and not liveness.is_held(mark):
            Run(store, found.info.run_id).end("KILLED")


def is_gone(error: BaseException) -> bool:
    """Tell whether `error` came of an MLflow server that does not answer."""
    if not isinstance(error, MlflowException) or not address().startswith("http"):
        return False
    try:
        requests.get(f"{address()}/health", timeout=5)
    except requests.RequestException:
        return True
    return False


def page_of(run_id: str, server: str) -> str:
    """Return the address of a run's page at an MLflow `server`, which MLFLOW_TRACKING_URI names when it is one."""
    here = address() if address().startswith("http") else server
    return f"{here}/#/experiments/{experiment(client())}/runs/{run_id}"


def tags_of(run_id: str) -> dict[str, str]:
    """Return the tags of a run; none when the store does not hold it."""
    try:
        return dict(client().get_run(run_id).data.tags)
    except MlflowException:
        return {}


def model_files(name: str, version: int) -> Path | None:
    """Return the folder that holds a registered model, downloaded when it is a server's; None when it is gone."""
    place = client().get_model_version_download_uri(name, str(version))
    folder = store_location.local(place)
    if folder is None:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=place, tracking_uri=address()))
    return folder if any(folder.glob("model/*.safetensors")) else None


def has_files(name: str, version: int) -> bool:
    """Tell whether the weights of a registered model are still there; a server's are taken to be."""
    place = client().get_model_version_download_uri(name, str(version))
    return store_location.local(place) is None or model_files(name, version) is not None
