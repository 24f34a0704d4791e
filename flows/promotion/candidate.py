"""Register the model chosen by `compare` as a version: merged weights, metrics and provenance.

Reads artifacts/compare/, the candidate's answers, artifacts/calibrate/ and dvc.lock; writes a version, which becomes
the challenger.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flows.dag import dvc_lock
from flows.promotion import eval_fingerprint, history
from flows.serve.locations import CALIBRATED
from pipelines import artifacts
from pipelines.config import Config
from pipelines.evaluation import questions
from pipelines.evaluation.question_sketch import QUESTIONS, sketch
from pipelines.models.release import registration, registry
from pipelines.models.release.registry import Version
from pipelines.runtime import tracking

COMPARISON = artifacts.ARTIFACTS / "compare"
OUTCOME = "gate"
"""Tag with the outcome of the gate against the baseline: pass, fail or undecided."""
VERDICT = "verdict"
"""Tag with the reasons of `compare` against promoting a version; empty when there are none."""
ADAPTERS = "adapters"
"""Tag with the origins of the adapters that a version combines, by name: their runs, commits and documents."""


@dataclass(frozen=True)
class Candidate:
    """The comparison, the name of the chosen model, and its registered version."""

    comparison: dict[str, Any]
    name: str
    version: Version


def register(parent: tracking.Run, settings: Config) -> Candidate:
    """Log the comparison to the flow's run, and register its candidate as challenger.

    A version is created only for weights that have none; metrics and commit are always updated.
    """
    comparison = artifacts.read_json(COMPARISON / "metrics.json")
    parent.metrics(_figures(comparison))
    parent.artifact(COMPARISON, "compare")
    parent.artifact(artifacts.REPORTS / "compare.html", "compare")
    name = comparison["candidate"]
    _log_answers(parent, name)
    version = _version(parent, settings, comparison, name)
    registry.set_alias(registry.CHALLENGER, version)
    return Candidate(comparison, name, version)


def is_new(settings: Config) -> bool:
    """Return whether the weights that `compare` chose have no registered version yet."""
    path = settings.evaluate.models[artifacts.read_json(COMPARISON / "metrics.json")["candidate"]]
    return registry.find(dvc_lock.output_hash(path.replace("/", "@"), artifacts.ARTIFACTS / path)) is None


def _version(parent: tracking.Run, settings: Config, comparison: dict[str, Any], name: str) -> Version:
    path = settings.evaluate.models[name]
    directory, stage = artifacts.ARTIFACTS / path, path.replace("/", "@")
    numbers = comparison["models"][name]
    figures = {metric: numbers[metric] for metric in registry.GATED if metric in numbers}
    folders = questions.folders(settings.evaluate.questions)
    asked = "".join(dvc_lock.input_hash("test@candidate", folder) for folder in folders)
    fingerprint = eval_fingerprint.of(asked, settings)
    measured = {
        **{metric: repr(number) for metric, number in figures.items()},
        **registry.evaluation(fingerprint, figures, parent.id),
        registry.FINGERPRINT: fingerprint,
        history.WEIGHTS: comparison["protocol"]["weights"][name],
        QUESTIONS: sketch(artifacts.read_rows(_answers(name)[1])),
        OUTCOME: comparison["verdict"]["outcome"],
        VERDICT: " ".join(comparison["verdict"]["reasons"]),
        registry.CONFIDENCE: json.dumps(comparison["confidence"]),
        **parent.lineage(),
    }
    artifact = dvc_lock.output_hash(stage, directory)
    version = registry.find(artifact)
    if version is not None:
        return registry.describe(version, measured)
    lineage = {
        "artifact": artifact,
        "model": name,
        "stage_key": dvc_lock.prove(stage).key,
        "data": dvc_lock.output_hash("split", artifacts.ARTIFACTS / "split"),
        "dvc_lock": dvc_lock.lock_hash(),
        "parent_run": parent.id,
    }
    if combined := artifacts.record(directory).get("origins"):
        lineage[ADAPTERS] = json.dumps(combined)
    documents, reader = artifacts.ARTIFACTS / "split/train.parquet", CALIBRATED / "reader"
    kept = documents, reader if reader.is_dir() else None, settings.compute, settings.evaluate.decoding
    probes = [row["question"] for row in artifacts.read_rows(_answers(name)[0])]
    return registration.register(parent, directory, *kept, {**measured, **lineage}, probes)


def _log_answers(parent: tracking.Run, name: str) -> None:
    """Log the candidate's answers to the validation and the test questions, with the confidence in each attempt."""
    stored = artifacts.read_rows(CALIBRATED / "confidences.jsonl")
    confidence = {row["id"]: row["confidence"] for row in stored}
    said = [row for path in _answers(name) for row in artifacts.read_rows(path)]
    rows = [{**row, "confidence": confidence.get(row["id"])} for row in said]
    with TemporaryDirectory() as folder:
        artifacts.write_rows(Path(folder) / registry.ANSWERS_FILE, sorted(rows, key=lambda row: str(row["id"])))
        parent.artifact(Path(folder) / registry.ANSWERS_FILE)


def _answers(name: str) -> tuple[Path, Path]:
    """Return the files with the answers of a model to the validation and the test questions."""
    folders = artifacts.ARTIFACTS / "evaluate" / name, artifacts.ARTIFACTS / "test/candidate" / name
    validation, test = (folder / registry.ANSWERS_FILE for folder in folders)
    return validation, test


def _figures(comparison: dict[str, Any]) -> dict[str, float]:
    return {
        f"{model}.{metric}": value
        for model, numbers in comparison["models"].items()
        for metric, value in numbers.items()
        if isinstance(value, int | float)
    }
