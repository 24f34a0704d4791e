"""The exam: the questions, and how they are asked and judged. Figures of the same exam may be held against each other.

Reads the questions in `evaluate.questions`; writes nothing.
"""

import hashlib
import json

from flows import ledger
from pipelines.config import Config


def today(settings: Config) -> str:
    """Return the hash of the exam as the working tree has it."""
    return of(ledger.current_hash(settings.evaluate.questions), settings)


def of(questions: str, settings: Config) -> str:
    """Return the hash of the exam whose questions DVC knows by the hash `questions`."""
    facts = [questions, settings.evaluate.decoding, settings.evaluate.max_extra_words, settings.curate.refusal]
    return hashlib.md5(json.dumps(facts, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
