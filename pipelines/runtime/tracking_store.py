"""The MLflow store: its address, its experiment, its pages, and the files of registered models.

The store is `mlruns/mlflow.db` (SQLite) with files in `mlruns/artifacts/`, unless MLFLOW_TRACKING_URI names another.
Only this module and tracking.py import MLflow.
"""

import os
from pathlib import Path

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from pipelines.runtime import store_location

EXPERIMENT = "gradus"


def address() -> str:
    """Return the URI of the store; its folder is created."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    return f"sqlite:///{store_location.store() / 'mlflow.db'}"


def client() -> MlflowClient:
    """Return a client of the store, which is created if it does not exist."""
    return MlflowClient(address())


def experiment(store: MlflowClient) -> str:
    """Return the id of the Gradus experiment, created if it does not exist, with its files in mlruns/artifacts/."""
    existing = store.get_experiment_by_name(EXPERIMENT)
    if existing is not None:
        return str(existing.experiment_id)
    if os.environ.get(store_location.GIVEN):
        return str(store.create_experiment(EXPERIMENT))
    created = str(
        store.create_experiment(EXPERIMENT, artifact_location=(store_location.store() / "artifacts").as_uri())
    )
    store_location.repair()  # MLflow makes every local address absolute
    return created


def is_gone(error: BaseException) -> bool:
    """Return whether `error` was caused by an MLflow server that does not answer."""
    if not isinstance(error, MlflowException) or not address().startswith("http"):
        return False
    try:
        requests.get(f"{address()}/health", timeout=5)
    except requests.RequestException:
        return True
    return False


def page_of(run_id: str, server: str) -> str:
    """Return the URL of a run's page at MLFLOW_TRACKING_URI if that is a server, else at `server`."""
    here = address() if address().startswith("http") else server
    return f"{here}/#/experiments/{experiment(client())}/runs/{run_id}"


def tags_of(run_id: str) -> dict[str, str]:
    """Return the tags of a run; empty if the run does not exist."""
    try:
        return dict(client().get_run(run_id).data.tags)
    except MlflowException:
        return {}


def tag_values(key: str) -> list[str]:
    """Return the values of a tag of all runs, also deleted ones, the oldest run first."""
    store = client()
    where, order = f"tags.{key} != ''", ["attributes.start_time ASC"]
    found = store.search_runs([experiment(store)], where, ViewType.ALL, max_results=50_000, order_by=order)
    return [run.data.tags[key] for run in found]


def artifact(run_id: str, name: str, folder: Path) -> Path | None:
    """Download an artifact of a run to `folder` and return its path; None if the run or the artifact is gone."""
    try:
        return Path(client().download_artifacts(run_id, name, str(folder)))
    except (MlflowException, OSError):
        return None


def model_files(name: str, version: int) -> Path | None:
    """Return the folder of a registered model, downloaded from a remote store; None if its files no longer exist."""
    place = client().get_model_version_download_uri(name, str(version))
    folder = store_location.local(place)
    if folder is None:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=place, tracking_uri=address()))
    return folder if any(folder.glob("model/*.safetensors")) else None


def has_files(name: str, version: int) -> bool:
    """Return whether the weights of a registered model still exist; remote weights are assumed to."""
    place = client().get_model_version_download_uri(name, str(version))
    return store_location.local(place) is None or model_files(name, version) is not None
