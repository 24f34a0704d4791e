"""The evaluation fingerprint: a hash of the questions, how they are answered and scored, and the judge with its prompt.

Metrics of two models are comparable when both were evaluated under the same fingerprint. Reads the questions in
`evaluate.questions`, the code of the stage `test` and the judge's prompt in `evaluate.labels`; writes nothing.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

import pipelines
from flows.dag import dvc_lock
from pipelines.config import Config
from pipelines.evaluation import questions
from pipelines.runtime.fingerprint import Source

PROJECT = Path(pipelines.__file__).parents[1]


def today(settings: Config) -> str:
    """Return the evaluation fingerprint of the working tree."""
    return of("".join(map(dvc_lock.current_hash, questions.folders(settings.evaluate.questions))), settings)


def of(digest: str, settings: Config) -> str:
    """Return the evaluation fingerprint for questions with `digest`, the DVC hashes of their folders in one string."""
    asked = [digest, settings.evaluate.limit, settings.evaluate.decoding, settings.curate.refusal]
    facts = [*asked, settings.evaluate.max_extra_words, settings.base.quantization, code(PROJECT)]
    if settings.evaluate.judge and (name := settings.teacher.roles.judge):
        prompt = hashlib.sha256(settings.evaluate.judge_prompt.read_bytes()).hexdigest()
        facts += [settings.teacher.models[name].model_dump(mode="json"), prompt]
    return hashlib.md5(json.dumps(facts, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


@cache
def code(root: Path) -> str:
    """Return the fingerprint of the code that asks the test questions and scores the answers, in the project `root`."""
    return Source(root).code("test").digest
