"""Verify an answer: find the sentence of the documents that supports it. Standalone: gradus ask --check "…"

Reads artifacts/split/train.parquet, dvc.lock, and the MLflow run of a model of the working tree; writes nothing.
"""

from pathlib import Path

from flows.commands.chat import ModelLocation
from pipelines import artifacts

SPLIT = artifacts.ARTIFACTS / "split"


def documents() -> Path:
    """Return the file of the documents that models of the working tree are trained on.

    Raises:
        UserError: the task split has not finished.
    """
    return artifacts.read(SPLIT.name) / "train.parquet"


def check(question: str, answer: str, location: ModelLocation, searched: Path, refusal: str) -> list[str]:
    """Return lines that say whether a sentence of the documents `searched` supports `answer`; a refusal is not checked.

    If the version at `location` was trained on other documents, a line says so, and no commit is named. `refusal` is
    the sentence that models are fine-tuned to refuse with.

    Raises:
        UserError: the documents contain no word.
    """
    from pipelines.evaluation import scoring
    from pipelines.evaluation.retrieval.support import Verifier

    if scoring.is_refusal(answer, question, refusal):
        return ["A refusal is not checked."]
    support = Verifier(artifacts.read_table(searched)).support(question, answer)
    others = _has_other_documents(location)
    lines = [f"{location.title} was trained on other documents than those in {SPLIT}/."] if others else []
    if support is None:
        return [*lines, "No sentence of the documents supports this answer."]
    commit = "" if others else _commit(location)
    origin = f"document {support.source}" + (f", commit {commit}" if commit else "")
    return [*lines, f'Supported by: "{" ".join(support.sentence.split())}" ({origin})']


def _has_other_documents(location: ModelLocation) -> bool:
    """Return whether a registered version was trained on other documents than dvc.lock names."""
    if location.tags is None:
        return False
    from flows.dag import dvc_lock  # imports DVC, as tracking_store below imports MLflow: a second or more each

    with dvc_lock.locked_repo():
        outs = dvc_lock.recorded().get(SPLIT.name, {}).get("outs", [])
    return location.tags.get("data") not in [out["md5"] for out in outs if out["path"] == SPLIT.as_posix()]


def _commit(location: ModelLocation) -> str:
    """Return the short hash of the commit that a model was trained from, with + if there were uncommitted changes.

    Empty if it is unknown.
    """
    tags = location.tags
    if tags is None:
        from pipelines.runtime import tracking_store

        stage = location.weights.relative_to(artifacts.ARTIFACTS).as_posix().replace("/", "@")
        run = artifacts.RUNS / f"{stage}.json"
        tags = tracking_store.tags_of(artifacts.read_json(run)["run_id"]) if run.exists() else {}
    commit = tags.get("commit", "none")
    return "" if commit == "none" else commit[:8] + ("+" if tags.get("dirty") == "True" else "")
