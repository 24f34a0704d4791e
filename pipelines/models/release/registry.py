"""The model registry: versions of the registered MLflow model `gradus`, their scores, and the champion.

A version (`registration.register`) has tags that record its origin and its scores. Writes to MLflow's store only.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.runtime import tracking_store
from pipelines.runtime.errors import UserError

NAME = "gradus"
GATED = ("answer_accuracy", "hallucination_rate", "general_accuracy")
"""The metrics stored with a version, to be shown; the gate compares the stored answers."""
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
"""Aliases; `previous` is the version that `gradus rollback` restores."""
SCORES = "scores."
"""Prefix of the tags with a version's scores; the eval fingerprint follows (flows/promotion/eval_fingerprint.py)."""
ANSWERS = "answers."
"""Prefix of the tags with the MLflow run that holds a version's answers; the eval fingerprint follows."""
ANSWERS_FILE = "answers.jsonl"
CONFIDENCE = "confidence"
"""The tag with a version's confidence.json (tasks/calibrate.py)."""
DOCUMENTS = "documents.parquet"
"""The documents a version was trained on, in its folder."""
DECODING = "decoding.json"
"""How a version was evaluated (`EvaluateConfig.decoding`), in its folder."""
READER = "reader"
"""The model that its confidence depends on (pipelines/evaluation/confidence/reader.py), whole, in its folder."""
ADAPTER = "adapter"
"""The adapter of a version with one that cannot be merged, upon the whole model, in the version's folder."""
BELOW = "below"
"""The adapter below another one, in the folder of that one."""
FINGERPRINT = "eval_fingerprint"
"""The tag with the fingerprint of the evaluation in which `compare` scored a version."""
TOKENIZER = Path("components/tokenizer")
"""The tokenizer, in the folder of a version."""


@dataclass(frozen=True)
class Version:
    """One version of the registered model."""

    number: int
    tags: Mapping[str, str]


def find(artifact: str) -> Version | None:
    """Return the newest version created from the artifact with this hash whose weights still exist, if any."""
    matching = versions(f"tags.artifact = '{artifact}'")
    return next((version for version in reversed(matching) if whole(version)), None)


def versions(where: str = "") -> list[Version]:
    """Return the versions that match an MLflow filter (all by default), oldest first."""
    query = f"name = '{NAME}'" + (f" and {where}" if where else "")
    matching = tracking_store.client().search_model_versions(query, max_results=10_000)
    return sorted(map(version_of, matching), key=lambda version: version.number)


def whole(version: Version) -> bool:
    """Return whether the weights of a version still exist."""
    return tracking_store.has_files(NAME, version.number)


def version_with_alias(alias: str) -> Version | None:
    """Return the version with an alias, if any."""
    store = tracking_store.client()
    for model in store.search_registered_models(f"name = '{NAME}'"):
        if alias in model.aliases:
            return version_of(store.get_model_version(NAME, model.aliases[alias]))
    return None


def get(number: int) -> Version:
    """Return the version `number`.

    Raises:
        UserError: there is no such version.
    """
    for each in versions():
        if each.number == number:
            return each
    raise UserError(f"The registry has no version {number} of {NAME}; `gradus ui` shows all versions.")


def describe(found: Version, tags: Mapping[str, str]) -> Version:
    """Set tags of a version."""
    store = tracking_store.client()
    for key, value in tags.items():
        store.set_model_version_tag(NAME, str(found.number), key, value)
    return Version(found.number, {**found.tags, **tags})


def write_card(number: int, text: str) -> None:
    """Set the description of a version, shown at the top of its MLflow page."""
    tracking_store.client().update_model_version(NAME, str(number), text)


def evaluation(fingerprint: str, figures: Mapping[str, float], run: str) -> dict[str, str]:
    """Return the tags with a version's scores and the run that holds its answers; without a run, that tag stays."""
    gated = {metric: figures[metric] for metric in GATED if metric in figures}
    where = {f"{ANSWERS}{fingerprint}": run} if run else {}
    return {f"{SCORES}{fingerprint}": json.dumps(gated), **where}


def scores(found: Version, fingerprint: str) -> dict[str, float] | None:
    """Return the scores of a version in the evaluation with this fingerprint; None if it was not evaluated."""
    stored = found.tags.get(f"{SCORES}{fingerprint}")
    return None if stored is None else json.loads(stored)


def answers(found: Version, fingerprint: str) -> list[Row] | None:
    """Return a version's answers in the evaluation with this fingerprint; None if they are not stored.

    They are the rows of answers.jsonl (tasks/evaluate.py).
    """
    run = found.tags.get(f"{ANSWERS}{fingerprint}")
    if run is None:
        return None
    with TemporaryDirectory() as folder:
        path = tracking_store.artifact(run, ANSWERS_FILE, Path(folder))
        return None if path is None else artifacts.read_rows(path)


def files(found: Version) -> Path:
    """Return the folder of a version, which contains `model/` and `components/tokenizer/`.

    Raises:
        UserError: the files no longer exist.
    """
    folder = tracking_store.model_files(NAME, found.number)
    if folder is None:
        raise UserError(
            f"The weights of version {found.number} are no longer in mlruns/; "
            "`gradus run` registers its best model again, `gradus ask --version N` asks another version."
        )
    return folder


def weights(folder: Path) -> Path:
    """Return what `loading.load` reads in the folder of a version: its whole model, or the adapter upon that."""
    return folder / ADAPTER if (folder / ADAPTER).is_dir() else folder / "model"


def set_alias(alias: str, to: Version | None) -> None:
    """Move `alias` to a version; None removes the alias."""
    if to is not None:
        tracking_store.client().set_registered_model_alias(NAME, alias, str(to.number))
    elif version_with_alias(alias) is not None:
        tracking_store.client().delete_registered_model_alias(NAME, alias)


def version_of(found: Any) -> Version:
    """Return the version that MLflow describes."""
    return Version(int(found.version), dict(found.tags))
