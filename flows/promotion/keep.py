"""Keep a trained adapter as a task adapter. Standalone: gradus keep NAME [--from MODEL]

Copies an adapter from artifacts/ to data/adapters/NAME/ with its origin, and tracks it with DVC; commits nothing.
"""

from pathlib import Path

from rich.console import Console

from flows.dag import dvc_lock
from flows.folder import check_repository, dvc_add
from pipelines import artifacts
from pipelines.config import Config
from pipelines.models.task_adapters import store
from pipelines.runtime import tracking_store
from pipelines.runtime.errors import UserError

TAGS = ("commit", "dirty", "stage_key")
"""Tags of the training run that are stored as the origin of the adapter."""


def keep(console: Console, name: str, source: str, replace: bool, settings: Config) -> None:
    """Keep the adapter of a model in `evaluate.models`, or of a folder of artifacts/, as `name`.

    Raises:
        UserError: training has not finished, it wrote no adapter on artifacts/base, or the name is invalid or in use.
    """
    check_repository()
    models = settings.evaluate.models
    if source not in models and not (artifacts.ARTIFACTS / source).is_dir():
        known = ", ".join(models)
        raise UserError(f"--from {source} is neither a model of evaluate.models ({known}) nor a folder of artifacts/.")
    directory = artifacts.read(models.get(source, source))
    store.check(directory, name, replace)
    place = store.copy(directory, name, _origin(artifacts.record(directory)["stage"]))
    dvc_add(place)
    console.print(f"{place} is tracked by DVC.", highlight=False)
    console.print(
        f"To commit: git add {place}.dvc {place.parent / '.gitignore'}", highlight=False, soft_wrap=True, markup=False
    )


def _origin(stage: str) -> dict[str, str]:
    """Return what trained the adapter of a stage: its MLflow run, commit and stage key, and its documents."""
    path = artifacts.RUNS / f"{stage}.json"
    run = str(artifacts.read_json(path)["run_id"]) if path.exists() else ""
    tags = tracking_store.tags_of(run) if run else {}
    known = {tag: tags[tag] for tag in TAGS if tag in tags}
    with dvc_lock.locked_repo():
        outs = dvc_lock.recorded().get("split", {}).get("outs", [])
    data = next((str(out["md5"]) for out in outs if Path(out["path"]) == artifacts.ARTIFACTS / "split"), "")
    return {"run_id": run, "data": data, **known}
