"""Whole runs and their dvc.lock, which references all inputs and outputs. Standalone: gradus runs

Reads MLflow's runs, git's history and DVC's cache. Every run logs its dvc.lock to its MLflow run, so its answers can be
found as long as DVC's cache holds them, whether or not the lock was committed.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo
from rich.table import Table

from flows.dag.dvc_lock import LOCK, ONE_AT_A_TIME
from flows.dag.worktree import git, resolve
from pipelines.artifacts import Row
from pipelines.models.release import registry
from pipelines.runtime import tracking_store
from pipelines.runtime.errors import UserError

FIGURES = {
    "answer_accuracy": "accuracy",
    "hallucination_rate": "hallucination rate",
    "general_accuracy": "general accuracy",
}


@dataclass(frozen=True)
class Side:
    """One result of a comparison."""

    name: str
    stages: dict[str, Any]
    """The stages of its dvc.lock."""

    def file(self, stage: str, folder: str, name: str) -> str:
        """Return the text of `name` in the output `folder` of `stage`, from DVC's cache.

        Raises:
            UserError: the result has no such output, or it is no longer in the cache.
        """
        outs = self.stages.get(stage, {}).get("outs", [])
        digests = [out["md5"] for out in outs if out["path"] == folder]
        listing = json.loads(_cached(digests[0]) or "[]") if digests else []
        (*_, text) = [None, *(_cached(entry["md5"]) for entry in listing if entry["relpath"] == name)]
        if text is None:
            raise UserError(
                f"{folder}/{name} of {self.name} is gone from DVC's cache; run `dvc fetch` or repeat the run."
            )
        return text

    def candidate(self) -> str:
        """Return the model chosen by the `compare` stage."""
        return str(json.loads(self.file("compare", "artifacts/compare", "metrics.json"))["candidate"])

    def answers(self, model: str) -> list[Row]:
        """Return the judged answers of the candidate `model` to the test questions."""
        lines = self.file("test@candidate", "artifacts/test/candidate", f"{model}/answers.jsonl").splitlines()
        return [json.loads(line) for line in lines if line]


def whole_runs() -> list[Any]:
    """Return the MLflow runs that registered a candidate, latest first."""
    store = tracking_store.client()
    experiments = [tracking_store.experiment(store)]
    runs = store.search_runs(
        experiments, "tags.candidate != ''", order_by=["attributes.start_time DESC"], max_results=1000
    )
    return [run for run in runs if "mlflow.parentRunId" not in run.data.tags]


def table(runs: Sequence[Any]) -> Table:
    """Return a table with date, name, commit, candidate, metrics and promotion of each run."""
    listing = Table(
        "run", "date", "name", "commit", "version", *FIGURES.values(), "champion", box=None, header_style="bold"
    )
    for run in runs:
        tags = run.data.tags
        commit = tags.get("commit", "none")[:8] + ("+" if tags.get("dirty") == "True" else "")
        keys = [f"{tags['candidate']}.{figure}" for figure in FIGURES]
        figures = [f"{100 * run.data.metrics[key]:.1f}%" if key in run.data.metrics else "" for key in keys]
        date = datetime.fromtimestamp(run.info.start_time / 1000).strftime("%m-%d %H:%M")
        promoted = "yes" if tags.get("promoted") == "True" else "no"
        version = f"{tags.get('model_version', '?')} ({tags['candidate']})"
        listing.add_row(run.info.run_id[:8], date, run.info.run_name, commit, version, *figures, promoted)
    return listing


def side(name: str) -> Side:
    """Return the result that `name` refers to: a version (`3`), a run (prefix of its id) or a commit.

    Raises:
        UserError: there is no such result, or its dvc.lock is gone.
    """
    if name.isdecimal() and len(name) < 6:
        tags = registry.get(int(name)).tags
        return Side(f"version {name}", _lock_of_run(tags["parent_run"], f"version {name}"))
    if runs := [run for run in whole_runs() if run.info.run_id.startswith(name) and len(name) >= 6]:
        return Side(f"run {name[:8]}", _lock_of_run(runs[0].info.run_id, f"run {name}"))
    commit = resolve(name)
    if not git("ls-tree", "--name-only", commit, "--", LOCK.name):
        raise UserError(f"The commit {name} holds no {LOCK}; `gradus runs` lists the runs that can be compared.")
    return Side(f"commit {name[:10]}", _stages(git("show", f"{commit}:{LOCK}")))


def _lock_of_run(run_id: str, what: str) -> dict[str, Any]:
    """Return the dvc.lock logged to an MLflow run, or else that of the commit with the tagged hash."""
    store = tracking_store.client()
    if any(file.path == LOCK.name for file in store.list_artifacts(run_id)):
        return _stages(Path(store.download_artifacts(run_id, LOCK.name)).read_text(encoding="utf-8"))
    digest = tracking_store.tags_of(run_id).get("dvc_lock")
    for commit in git("log", "--all", "--format=%H", "--", LOCK.name).split():
        text = git("show", f"{commit}:{LOCK}", stripped=False)
        if hashlib.sha256(text.encode()).hexdigest() == digest:
            return _stages(text)
    raise UserError(f"The {LOCK} of {what} is neither in a commit nor in its MLflow run, so its answers are gone.")


def _stages(text: str) -> dict[str, Any]:
    stages: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)).get("stages", {})
    return stages


def _cached(digest: str) -> str | None:
    with ONE_AT_A_TIME, Repo() as repo:
        path = Path(repo.cache.local.oid_to_path(digest))
    return path.read_text(encoding="utf-8") if path.exists() else None
