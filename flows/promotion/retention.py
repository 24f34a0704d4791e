"""Remove the weights of old registered versions without an alias, but keep the versions' records. Standalone: gradus gc

Reads the registry and MLflow's files in mlruns/; removes model files and tags their versions `weights: removed`.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipelines import artifacts
from pipelines.models.release import registry
from pipelines.runtime import store_location, tracking_store

WEIGHTS, REMOVED = "weights", "removed"
"""Tag, and its value, of a version whose files were removed."""


@dataclass(frozen=True)
class Weights:
    """The files of one version."""

    version: int
    model: str
    folder: Path
    size: int


def removable_weights(keep: int) -> list[Weights]:
    """Return the weights of versions that have no alias and are not among the last `keep`."""
    store = tracking_store.client()
    models = store.search_registered_models(f"name = '{registry.NAME}'")
    aliased = {str(number) for model in models for number in model.aliases.values()}
    versions = sorted(store.search_model_versions(f"name = '{registry.NAME}'"), key=lambda each: -int(each.version))
    old = [each for place, each in enumerate(versions) if place >= keep and str(each.version) not in aliased]
    needed = {each.source for each in versions if each not in old}
    found = [(each, _folder(each.source)) for each in old if each.source not in needed]
    return [
        Weights(int(each.version), each.tags.get("model", "?"), folder, _size(folder))
        for each, folder in found
        if folder is not None
    ]


def remove(weights: Weights) -> None:
    """Remove the files of a version and tag it."""
    registry.describe(registry.get(weights.version), {WEIGHTS: REMOVED})
    shutil.rmtree(weights.folder)


def _folder(source: str) -> Path | None:
    """Return the folder of a version's files below mlruns/artifacts/; None when it is gone or elsewhere."""
    if source.startswith("models:/"):
        source = tracking_store.client().get_logged_model(source.removeprefix("models:/")).artifact_location
    files, address = store_location.FILES.resolve(), urlsplit(source)
    served = files / unquote(address.path).lstrip("/") if address.scheme == "mlflow-artifacts" else None
    folder = (served or store_location.local(source) or files).resolve()
    return folder if folder.is_dir() and folder != files and folder.is_relative_to(files) else None


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in artifacts.files(path))
