"""The task adapters in data/adapters/, one folder each. Imports no compute library.

A folder is complete once it has record.json: the record of the stage that trained the adapter, and its origin.
"""

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines import artifacts
from pipelines.models.task_adapters.config import NAME, CombineConfig
from pipelines.runtime.errors import UserError

FOLDER = Path("data/adapters")
BASE = artifacts.ARTIFACTS / "base"


def names() -> list[str]:
    """Return the names of all complete adapters."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{artifacts.RECORD}"))


def find(name: str) -> Path:
    """Return the folder of an adapter.

    Raises:
        UserError: there is none of that name, or its files are only in DVC.
    """
    known = names()
    if name in known:
        return FOLDER / name
    if (pointer := FOLDER / f"{name}.dvc").exists():
        raise UserError(f"The files of the adapter {name!r} are not here; `dvc pull {pointer}` fetches them.")
    kept = f"there are {', '.join(known)}" if known else f"{FOLDER} has none"
    raise UserError(f"There is no adapter {name!r}: {kept}; `gradus keep {name}` keeps the trained one.")


def origins(chosen: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return what trained each of the adapters: run, commit, stage key, and the hash of its documents.

    Raises:
        UserError: there is no such adapter, or its files are only in DVC.
    """
    return {name: artifacts.record(find(name))["origin"] for name in chosen}


def check(source: Path, name: str, replace: bool) -> None:
    """Check that the model in `source` can be kept as `name`.

    Raises:
        UserError: the name is invalid or in use, or the model is not an adapter on the present artifacts/base.
    """
    from pipelines.models import adapters  # imports PEFT

    if not re.fullmatch(NAME, name):
        raise UserError(f"{name!r} is not a name for an adapter; use letters, digits, - and _.")
    if (FOLDER / name).exists() and not replace:
        raise UserError(f"{FOLDER / name} exists; choose another name, or replace it with --replace.")
    below = adapters.parent(source)
    if below is None:
        raise UserError(f"{source} has a whole model, and only adapters are kept; train one with tuning.method lora.")
    if below != BASE:
        raise UserError(f"The adapter in {source} is on {below}, and only adapters on {BASE} are kept.")
    adapters.lineage(source)


def check_combination(config: CombineConfig) -> None:
    """Check that the named adapters can be combined, without the weights of their base model.

    Raises:
        UserError: no adapter is named, one is missing, or they do not fit the method or each other.
    """
    from pipelines.models.task_adapters import combination  # imports torch

    combination.check(config, BASE)


def copy(source: Path, name: str, origin: Mapping[str, str]) -> Path:
    """Copy an adapter and its tokenizer, without folders such as stable/, and return its new folder."""
    place = FOLDER / name
    partial = place.with_name(f"{name}.part")
    shutil.rmtree(partial, ignore_errors=True)  # left by an interrupted copy
    partial.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file() and path.name != artifacts.RECORD:
            shutil.copyfile(path, partial / path.name)
    artifacts.complete(partial, {**artifacts.record(source), "origin": dict(origin)})
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    return place
