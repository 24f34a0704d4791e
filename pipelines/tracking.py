"""MLflow, and the only module that imports it: runs, their parameters, metrics and artefacts.

The store is `mlruns/mlflow.db` (SQLite) with files in `mlruns/artifacts/`, unless MLFLOW_TRACKING_URI names another.
A flow run is a parent run and each stage that ran is a child, found through GRADUS_PARENT_RUN, which changes no result.
"""

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from pipelines.errors import UserError

EXPERIMENT = "gradus"
PARENT = "GRADUS_PARENT_RUN"
STORE = Path("mlruns")


def client() -> MlflowClient:
    """Return a client of the store, which is created when it is not there."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None:
        STORE.mkdir(exist_ok=True)
        uri = f"sqlite:///{(STORE / 'mlflow.db').resolve()}"
    mlflow.set_tracking_uri(uri)
    return MlflowClient(uri)


def experiment(store: MlflowClient) -> str:
    """Return the id of Gradus's experiment, created when it is not there."""
    found = store.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    location = None if os.environ.get("MLFLOW_TRACKING_URI") else (STORE / "artifacts").resolve().as_uri()
    return str(store.create_experiment(EXPERIMENT, artifact_location=location))


class Run:
    """One MLflow run: what was set, what was measured, what was made."""

    def __init__(self, store: MlflowClient, run_id: str) -> None:
        """Write to the run `run_id` of `store`."""
        self.store, self.id = store, run_id

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; long values are cut, as MLflow refuses them."""
        self.store.log_batch(self.id, params=[Param(key, str(value)[:500]) for key, value in values.items()])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self.store.log_batch(self.id, tags=[RunTag(key, value[:5000]) for key, value in values.items()])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at `step`.

        Raises:
            UserError: one of them is NaN or infinite.
        """
        for key, value in values.items():
            if not math.isfinite(value):
                raise UserError(f"{key} became {value} at step {step}; lower the learning rate or inspect the data.")
        now = int(1000 * time.time())
        self.store.log_batch(self.id, metrics=[Metric(key, float(value), now, step) for key, value in values.items()])

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file or a directory with the run."""
        if path.is_dir():
            self.store.log_artifacts(self.id, str(path), folder)
        else:
            self.store.log_artifact(self.id, str(path), folder)

    def end(self, status: str) -> None:
        """Set the final status: FINISHED, FAILED or KILLED."""
        self.store.set_terminated(self.id, status)


@contextmanager
def started(name: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """Open a run, a child of GRADUS_PARENT_RUN when that is set, and end it with its true status."""
    store = client()
    parent = os.environ.get(PARENT)
    everything = {**tags, **({"mlflow.parentRunId": parent} if parent else {})}
    run = Run(store, store.create_run(experiment(store), run_name=name, tags=everything).info.run_id)
    try:
        yield run
    except (KeyboardInterrupt, SystemExit):
        run.end("KILLED")
        raise
    except BaseException:
        run.end("FAILED")
        raise
    run.end("FINISHED")
