"""The index of models: versions of the registered model `gradus`, how each measured, and which is champion.

A version is a whole model with merged weights, so that plain MLflow loads it without Gradus; its tags say
where it came from and how it did. Writes to MLflow's store only.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines.models.config import ComputeConfig
from pipelines.runtime import tracking
from pipelines.runtime.errors import UserError

NAME = "gradus"
GATED = ("answer_accuracy", "hallucination_rate", "general_accuracy")
"""The figures that versions are told apart by."""
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
"""Aliases; the previous one is the version that `gradus rollback` goes back to."""
SCORES = "scores."
"""Begins the tags with what a version reached in an exam (flows/promotion/eval_fingerprint.py), whose hash follows."""
EXAM = "exam"
"""The tag with the hash of the exam that `compare` measured a version by."""
REQUIREMENTS = ("torch", "transformers", "accelerate")


@dataclass(frozen=True)
class Version:
    """One version of the registered model."""

    number: int
    tags: Mapping[str, str]


def find(artifact: str) -> Version | None:
    """Return the newest version made from the artifact with this hash whose weights are still there, if any."""
    found = versions(f"tags.artifact = '{artifact}'")
    return next((version for version in reversed(found) if whole(version)), None)


def versions(where: str = "") -> list[Version]:
    """Return all versions, or those that match an MLflow filter, oldest first."""
    query = f"name = '{NAME}'" + (f" and {where}" if where else "")
    found = tracking.client().search_model_versions(query, max_results=10_000)
    return sorted(map(_version, found), key=lambda version: version.number)


def whole(version: Version) -> bool:
    """Tell whether the weights of a version are still there."""
    return tracking.has_files(NAME, version.number)


def version_with_alias(alias: str) -> Version | None:
    """Return the version that carries `alias`, if there is one."""
    store = tracking.client()
    for model in store.search_registered_models(f"name = '{NAME}'"):
        if alias in model.aliases:
            return _version(store.get_model_version(NAME, model.aliases[alias]))
    return None


def get(number: int) -> Version:
    """Return the version `number`.

    Raises:
        UserError: there is none.
    """
    for found in versions():
        if found.number == number:
            return found
    raise UserError(f"The registry holds no version {number} of {NAME}; `gradus ui` shows those it holds.")


def register(
    run: tracking.Run, directory: Path, compute: ComputeConfig, decoding: Mapping[str, Any], tags: Mapping[str, str]
) -> Version:
    """Merge the model in `directory`, keep it with `run`, and make it a version tagged with `tags`.

    It answers as it was evaluated: `decoding` is `EvaluateConfig.decoding`.
    """
    address, model_id = run.model(_parts(directory, compute, decoding), decoding, _requirements())
    store = tracking.client()
    if not store.search_registered_models(f"name = '{NAME}'"):
        store.create_registered_model(NAME, description="Language models made by Gradus from a folder of documents.")
    return _version(store.create_model_version(NAME, address, run_id=run.id, model_id=model_id, tags=dict(tags)))


def describe(found: Version, tags: Mapping[str, str]) -> Version:
    """Set tags of a version."""
    store = tracking.client()
    for key, value in tags.items():
        store.set_model_version_tag(NAME, str(found.number), key, value)
    return Version(found.number, {**found.tags, **tags})


def write_card(number: int, text: str) -> None:
    """Set the description of a version, which its page in MLflow begins with."""
    tracking.client().update_model_version(NAME, str(number), text)


def keep_scores(found: Version, exam: str, figures: Mapping[str, float]) -> None:
    """Keep, on a version, what it reached in the exam with this hash."""
    describe(found, {f"{SCORES}{exam}": json.dumps({metric: figures[metric] for metric in GATED if metric in figures})})


def scores(found: Version, exam: str) -> dict[str, float] | None:
    """Return what a version reached in the exam with this hash; None when it has not sat it."""
    told = found.tags.get(f"{SCORES}{exam}")
    return None if told is None else json.loads(told)


def files(found: Version) -> Path:
    """Return the folder with the files of a version: `model/` and `components/tokenizer/` in it.

    Raises:
        UserError: they are gone.
    """
    folder = tracking.model_files(NAME, found.number)
    if folder is None:
        raise UserError(
            f"The weights of version {found.number} are no longer in mlruns/; "
            "`gradus run` registers its best model anew, `gradus ask --version N` asks another version."
        )
    return folder


def fetch(found: Version, directory: Path) -> None:
    """Copy the weights and the tokenizer of a version to `directory`, where `models.load` reads them.

    Raises:
        UserError: they are gone.
    """
    folder = files(found)
    for part in ("components/tokenizer", "model"):
        shutil.copytree(folder / part, directory, dirs_exist_ok=True)


def set_alias(alias: str, to: Version | None) -> None:
    """Give `alias` to a version, taking it from the one that has it; to none, and nobody has it."""
    if to is not None:
        tracking.client().set_registered_model_alias(NAME, alias, str(to.number))
    elif version_with_alias(alias) is not None:
        tracking.client().delete_registered_model_alias(NAME, alias)


def _parts(directory: Path, compute: ComputeConfig, decoding: Mapping[str, Any]) -> dict[str, Any]:
    from pipelines.models import devices, loading  # importing torch takes seconds, and few callers need it

    devices.prepare(compute)
    model = loading.load(directory, compute).cpu()
    for key, value in decoding.items():
        setattr(model.generation_config, key, value)
    model.name_or_path = f"{NAME}: {directory}"  # no name a hub could have, or MLflow would look there for a card
    return {"model": model, "tokenizer": loading.tokenizer(directory)}


def _requirements() -> list[str]:
    return [f"{name}=={version(name).split('+')[0]}" for name in REQUIREMENTS]


def _version(found: Any) -> Version:
    return Version(int(found.version), dict(found.tags))
