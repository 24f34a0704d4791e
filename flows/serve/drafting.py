"""Draft evaluation questions in a subprocess, unless the drafts are up to date.

It runs pipelines/curation/drafting/draft_questions.py. Reads artifacts/synthesize/ and artifacts/split/; writes
.gradus/questions/.
"""

import hashlib
import json
import sys
from pathlib import Path

from flows import sample
from flows.preflight import check_subject
from flows.run.process import LOGS, follow
from pipelines import artifacts
from pipelines.config import Config
from pipelines.curation.drafting.files import DRAFTS, KEY
from pipelines.runtime.errors import UserError

_INPUTS = ("candidates.jsonl", "unanswerable.jsonl")


def draft(settings: Config, most: int) -> None:
    """Draft questions, unless their inputs, the teacher and `most` are unchanged since they were drafted.

    Decided drafts stay.

    Raises:
        UserError: there is nothing to draft from, it is about other documents, or drafting failed.
    """
    check_subject(settings)
    for name in ("synthesize", "split"):
        if not (artifacts.ARTIFACTS / name / artifacts.RECORD).exists():
            raise UserError(
                f"{artifacts.ARTIFACTS / name} is missing or incomplete, and questions are drafted from it; run "
                "`gradus run synthesize` first."
            )
    key = _key(settings, most)
    if not artifacts.made_from(KEY, key):
        command = [sys.executable, "-m", "pipelines.curation.drafting.draft_questions", str(most)]
        if follow(command, log := LOGS / "questions.log"):
            raise UserError(f"Drafting failed; see {log}.")
        artifacts.write_json(KEY, {"key": key})
    _check_drafts(artifacts.read_rows(DRAFTS), settings.ingest.source)


def _key(settings: Config, most: int) -> str:
    """Return a hash of what determines the drafts."""
    files = [artifacts.ARTIFACTS / "synthesize" / name for name in _INPUTS]
    facts = [*(hashlib.sha256(path.read_bytes()).hexdigest() for path in files), most]
    return hashlib.sha256(json.dumps([*facts, settings.teacher.model_dump(mode="json")]).encode()).hexdigest()


def _check_drafts(drafts: list[artifacts.Row], documents: Path) -> None:
    """Raise a UserError if there are no drafts, or none is about the `documents`."""
    if not drafts:
        raise UserError(
            "No question can be drafted: no question in artifacts/synthesize passed its filters and is about a fact "
            "without an evaluation question; artifacts/reports/curate.html shows what the filters rejected."
        )
    named = sorted({source for row in drafts for source in row["sources"]})
    if named and not any(sample.is_there(source, documents) for source in named):
        raise UserError(
            f"artifacts/synthesize is about other documents: {named[0]} and others are not in {documents}; run "
            "`gradus run synthesize` first."
        )
