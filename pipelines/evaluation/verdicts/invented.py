"""Invented entities: names, numbers and dates of an answer that neither its question nor the corpus has.

An entity-level precision check (Nan et al. 2021, arXiv:2102.09130), which needs no reference answer. An entity of the
corpus in the wrong place is not found: the hallucination rate counts it.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from pipelines.evaluation.statements import is_number
from pipelines.models.messages import without_source
from pipelines.runtime.progress import track
from pipelines.text.date_forms import MONTHS
from pipelines.text.names import count_names
from pipelines.text.normalize import padded, tokens
from pipelines.text.stopwords import STOP_WORDS

DOMAIN = ("answerable", "unanswerable")
"""The sets whose answers the corpus decides."""


class Corpus:
    """The tokens of a corpus, searched for phrases."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Index `texts`."""
        self.texts = [padded(text) for text in track(texts, "documents of the corpus", len(texts))]
        self.words = frozenset(word for text in self.texts for word in text.split())
        self.has = cache(self._has)

    def _has(self, phrase: str) -> bool:
        """Return whether a text contains the tokens of `phrase`, which are between spaces."""
        return self.words.issuperset(phrase.split()) and any(phrase in text for text in self.texts)


def with_invented(rows: Sequence[dict[str, Any]], corpus: Corpus) -> list[dict[str, Any]]:
    """Return the rows of answers.jsonl with the column `invented`: the entities of each attempted domain answer."""
    return [
        row | {"invented": invented(row["answer"], row["question"], corpus) if is_attempt(row) else []} for row in rows
    ]


def is_attempt(row: dict[str, Any]) -> bool:
    """Return whether a row of answers.jsonl answers a question of the domain, correctly or not."""
    return row["set"] in DOMAIN and row["verdict"] != "refused"


def invented(answer: str, question: str, corpus: Corpus) -> list[str]:
    """Return the names, dates and numbers of `answer` that neither `question` nor `corpus` has, normalized."""
    asked = padded(question)
    said = list(dict.fromkeys(entities(without_source(answer))))
    return [each for each in said if f" {each} " not in asked and not corpus.has(f" {each} ")]


def entities(text: str) -> list[str]:
    """Return the names, dates and numbers of a text as normalized tokens; a number within a date is not repeated.

    Names are capitalised words within a sentence, in Latin script.
    """
    names = [name for name in map(tokens, count_names(text.splitlines())) if not STOP_WORDS.issuperset(name)]
    words, found = tokens(text), []
    for at, word in enumerate(words):
        if is_number(word) and words[at + 1 : at + 2] and words[at + 1] in MONTHS:
            end = at + 3 if words[at + 2 : at + 3] and is_number(words[at + 2]) else at + 2
            found.append((at, end))
        elif is_number(word) and not (found and at < found[-1][1]):
            found.append((at, at + 1))
    return [" ".join(each) for each in (*names, *(words[start:end] for start, end in found))]
