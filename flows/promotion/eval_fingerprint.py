"""The evaluation fingerprint: the questions, and how they are asked and judged.

Metrics of two models may be compared when both were evaluated under the same fingerprint. Reads the questions in
`evaluate.questions` and the code that scores; writes nothing.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

import pipelines
from flows.dag import dvc_lock
from pipelines.config import Config
from pipelines.runtime.code_modules import Target
from pipelines.runtime.fingerprint import Source

PROJECT = Path(pipelines.__file__).parents[1]
SCORING = ("pipelines.evaluation.scoring", "pipelines.evaluation.metrics")
"""The modules that turn answers into metrics; what they import counts with them."""


def today(settings: Config) -> str:
    """Return the fingerprint of the evaluation as the working tree has it."""
    return of(dvc_lock.current_hash(settings.evaluate.questions), settings)


def of(questions: str, settings: Config) -> str:
    """Return the fingerprint of the evaluation whose questions have the DVC hash `questions`."""
    asked = [questions, settings.evaluate.decoding, settings.curate.refusal]
    facts = [*asked, settings.evaluate.max_extra_words, rules(PROJECT)]
    return hashlib.md5(json.dumps(facts, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


@cache
def rules(root: Path) -> str:
    """Return the hash of the code that scores in the project `root`: its syntax, without comments and docstrings."""
    return Source(root).reachable(Target(module, None) for module in SCORING).digest
