"""Where the model that a command names is: in the registry, among artifacts/, or a task adapter of data/adapters."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines import artifacts
from pipelines.config import Config
from pipelines.models.task_adapters import store
from pipelines.runtime import store_location
from pipelines.runtime.errors import UserError

SPLIT = artifacts.ARTIFACTS / "split"
CALIBRATED = artifacts.ARTIFACTS / "calibrate"


@dataclass(frozen=True)
class ModelLocation:
    """Path, title and decoding parameters of a model (None: the parameters stored with it)."""

    title: str
    weights: Path
    tokenizer: Path
    decoding: dict[str, Any] | None = None
    note: str = ""
    tags: Mapping[str, str] | None = None
    """Tags of a registered version; None for a model of the working tree."""
    confidence: Mapping[str, Any] | None = None
    """confidence.json of `calibrate`; None if the model was not calibrated."""
    documents: Path | None = None
    """The documents it was trained on, as a Parquet file."""
    reader: Path | None = None
    """The folder of the reader that its confidence may depend on."""


@contextmanager
def locate(which: str, settings: Config) -> Iterator[Callable[[], ModelLocation]]:
    """Start to look the model up; yield a function that waits for its location."""
    if which in settings.evaluate.models:
        directory = artifacts.read(settings.evaluate.models[which])
        location = ModelLocation(which, directory, directory, settings.evaluate.decoding)
        documents, reader = SPLIT / "train.parquet", CALIBRATED / "reader"
        yield lambda: replace(location, confidence=_confidence(which), documents=documents, reader=reader)
        return
    if which and which not in ("champion", "challenger") and not which.isdigit():
        known = ", ".join(settings.evaluate.models)
        raise UserError(f"There is no model {which!r}; choose champion, challenger, a version number, {known}.")
    if not store_location.exists():
        raise UserError("No model is registered yet; `gradus run` registers one.")
    command = [sys.executable, "-m", "pipelines.models.lookup", which]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        yield lambda: _looked_up(program, which)


def _looked_up(program: "subprocess.Popen[str]", which: str) -> ModelLocation:
    output, _ = program.communicate()
    if program.returncode:
        raise UserError("The model could not be looked up in MLflow; see the error above.")
    result = json.loads(output.splitlines()[-1])
    if "error" in result:
        raise UserError(result["error"])
    return registered(result, which)


def registered(result: Mapping[str, Any], which: str = "") -> ModelLocation:
    """Return the location of a registered version from what `lookup.facts` found; `which` named it."""
    number, alias = result["version"], result["alias"]
    title = f"The {alias}, version {number}," if alias else f"Version {number}"
    folder = Path(result["folder"])
    note = "There is no champion yet." if not which and alias == "challenger" else ""
    model, tokenizer, documents = Path(result["weights"]), folder / "components/tokenizer", Path(result["documents"])
    known = result["tags"], result["confidence"], documents, Path(result["reader"])
    return ModelLocation(title, model, tokenizer, result["decoding"], note, *known)


def _confidence(name: str) -> dict[str, Any] | None:
    """Return confidence.json of the model `name` in artifacts/; None unless it is the calibrated candidate."""
    if not (CALIBRATED / artifacts.RECORD).exists():
        return None
    found: dict[str, Any] = artifacts.read_json(CALIBRATED / "confidence.json")
    return found if found["candidate"] == name else None


def task_adapter(name: str, settings: Config) -> ModelLocation:
    """Return the location of a task adapter, whose tags are the origin that `gradus keep` stored.

    Raises:
        UserError: there is no such adapter.
    """
    directory = store.find(name)
    tags = artifacts.record(directory)["origin"]
    return ModelLocation(f"The adapter {name}", directory, directory, settings.evaluate.decoding, tags=tags)
