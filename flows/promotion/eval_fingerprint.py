"""The evaluation fingerprint: a hash of questions, decoding, scoring code and, if any, the judge with its prompt.

Metrics of two models are comparable when both were evaluated under the same fingerprint. Reads the questions in
`evaluate.questions`, the scoring code and the judge's prompt in `evaluate.labels`; writes nothing.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

import pipelines
from flows.dag import dvc_lock
from pipelines.config import Config
from pipelines.evaluation import questions
from pipelines.runtime.code_modules import Target
from pipelines.runtime.fingerprint import Source

PROJECT = Path(pipelines.__file__).parents[1]
SCORING = ("pipelines.evaluation.scoring", "pipelines.evaluation.metrics")
"""Modules that turn answers into metrics; the code they import is included."""


def today(settings: Config) -> str:
    """Return the evaluation fingerprint of the working tree."""
    return of("".join(map(dvc_lock.current_hash, questions.folders(settings.evaluate.questions))), settings)


def of(digest: str, settings: Config) -> str:
    """Return the evaluation fingerprint for questions with `digest`, the DVC hashes of their folders in one string."""
    asked = [digest, settings.evaluate.decoding, settings.curate.refusal]
    facts = [*asked, settings.evaluate.max_extra_words, rules(PROJECT)]
    if settings.evaluate.judge and (name := settings.teacher.roles.judge):
        prompt = hashlib.sha256(settings.evaluate.judge_prompt.read_bytes()).hexdigest()
        facts += [settings.teacher.models[name].model_dump(mode="json"), prompt]
    return hashlib.md5(json.dumps(facts, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


@cache
def rules(root: Path) -> str:
    """Return the hash of the scoring code in the project `root`: its syntax, without comments and docstrings."""
    return Source(root).reachable(Target(module, None) for module in SCORING).digest
