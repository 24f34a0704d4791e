"""The model that `compare` chose, as a version in the registry: whole weights, figures, where it came from.

Reads artifacts/compare/ and dvc.lock; writes a version, which becomes the challenger.
"""

import json
from dataclasses import dataclass
from typing import Any

from flows.dag import dvc_lock
from flows.promotion import eval_fingerprint
from pipelines import artifacts
from pipelines.config import Config
from pipelines.models import registry
from pipelines.models.registry import Version
from pipelines.runtime import tracking

COMPARISON = artifacts.ARTIFACTS / "compare"
VERDICT = "verdict"
"""The tag with what `compare` has against a version; empty when nothing."""


@dataclass(frozen=True)
class Candidate:
    """What `compare` said, whom it chose, and the version that is."""

    comparison: dict[str, Any]
    name: str
    version: Version


def register(parent: tracking.Run, settings: Config) -> Candidate:
    """Keep the comparison with the flow's run, and register its candidate as challenger.

    A version is made only when these very weights have none; the figures and the commit are today's.
    """
    comparison = artifacts.read_json(COMPARISON / "metrics.json")
    parent.metrics(_figures(comparison))
    parent.artifact(COMPARISON, "compare")
    parent.artifact(artifacts.REPORTS / "compare.html", "compare")
    name = comparison["candidate"]
    version = _version(parent, settings, comparison, name)
    registry.set_alias(registry.CHALLENGER, version)
    return Candidate(comparison, name, version)


def is_new(settings: Config) -> bool:
    """Tell whether the registry holds no version yet of the weights that `compare` chose."""
    place = settings.evaluate.models[artifacts.read_json(COMPARISON / "metrics.json")["candidate"]]
    return registry.find(dvc_lock.output_hash(place.replace("/", "@"), artifacts.ARTIFACTS / place)) is None


def _version(parent: tracking.Run, settings: Config, comparison: dict[str, Any], name: str) -> Version:
    place = settings.evaluate.models[name]
    directory, stage = artifacts.ARTIFACTS / place, place.replace("/", "@")
    numbers = comparison["models"][name]
    figures = {metric: numbers[metric] for metric in registry.GATED if metric in numbers}
    taken = eval_fingerprint.of(dvc_lock.input_hash(f"evaluate@{name}", settings.evaluate.questions), settings)
    measured = {
        **{metric: repr(number) for metric, number in figures.items()},
        f"{registry.SCORES}{taken}": json.dumps(figures),
        registry.EXAM: taken,
        VERDICT: " ".join(comparison["verdict"]["reasons"]),
        **parent.lineage(),
    }
    artifact = dvc_lock.output_hash(stage, directory)
    version = registry.find(artifact)
    if version is not None:
        return registry.describe(version, measured)
    made = {
        "artifact": artifact,
        "model": name,
        "stage_key": dvc_lock.prove(stage).key,
        "data": dvc_lock.output_hash("split", artifacts.ARTIFACTS / "split"),
        "dvc_lock": dvc_lock.lock_hash(),
        "parent_run": parent.id,
    }
    return registry.register(parent, directory, settings.compute, settings.evaluate.decoding, {**measured, **made})


def _figures(comparison: dict[str, Any]) -> dict[str, float]:
    return {
        f"{model}.{metric}": value
        for model, numbers in comparison["models"].items()
        for metric, value in numbers.items()
        if isinstance(value, int | float)
    }
