"""Verify an answer: find a sentence of the documents that supports it. Reads and writes nothing.

Lexical rules instead of an entailment model, which would be a second model to load: tuned answers repeat the words of
the documents, so words decide most cases. A sentence supports an answer if it has all its numbers and names and most of
its other words that are not from the question; the passage around the sentence must have enough of the question's
words, because a sentence often says "it" for what the question names. Words count by their inverse document frequency,
since a shared rare word is less likely by chance. An answer that states a fact of the documents in reply to another
question is supported too: on 375 validation answers, 45% of them correct, 78% of the supported ones are correct, and
78% of the correct ones are supported (docs/evaluation.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.artifacts import Row
from pipelines.evaluation.retrieval.index import Index
from pipelines.evaluation.retrieval.passages import passages
from pipelines.evaluation.statements import Statement, content_stems, content_words, is_number, parse, stem
from pipelines.models.messages import without_source
from pipelines.text.sentences import sentences

SENTENCES = 2
"""Sentences of a passage: a sentence is judged with the title and a neighbour, which may name what it calls "it"."""
CANDIDATES = 10
"""Passages considered; 20 support no other validation answer, and 30 change no AUROC of a signal by more than 0.01."""
MIN_ANSWER = 0.6
"""Least share of the answer's own words in the sentence; at 0.8, 74% of the correct answers are supported."""
MIN_QUESTION = 0.4
"""Least share of the question's words in the passage; at 0.3, 72% of the supported answers are correct."""


@dataclass(frozen=True)
class Support:
    """The sentence that supports an answer."""

    sentence: str
    source: str


class Verifier:
    """Looks for support of answers in documents."""

    def __init__(self, documents: Iterable[Row]) -> None:
        """Index `documents`, rows of artifacts/split/*.parquet.

        Raises:
            UserError: the documents contain no word.
        """
        self._index = Index(list(passages(documents, SENTENCES)))

    def support(self, question: str, answer: str) -> Support | None:
        """Return the sentence that supports `answer` best, if one does; a source tag is ignored.

        An answer of the question's words alone, or of none, states nothing and is not supported.
        """
        asked, said = parse(question), parse(without_source(answer))
        stated, wanted = _stems(said) - _stems(asked), _stems(asked)
        if not stated:
            return None
        details = {stem(word) for word in said.words if is_number(word) or (word in said.names and content_words(word))}
        found: list[tuple[float, Support]] = []
        for passage in self._index.search(f"{question} {answer}", CANDIDATES):
            relevance = self._index.share(wanted, set(content_stems(f"{passage.title}\n{passage.text}")))
            for start, end in sentences(passage.text):
                words = set(content_stems(passage.text[start:end]))
                grounded = self._index.share(stated, words)
                if details <= words and grounded >= MIN_ANSWER and relevance >= MIN_QUESTION:
                    closeness = grounded + relevance + self._index.share(wanted, words)
                    found.append((closeness, Support(passage.text[start:end], passage.source)))
        return max(found, key=lambda each: each[0], default=(0.0, None))[1]


def _stems(statement: Statement) -> set[str]:
    return {stem(word) for word in statement.words if content_words(word)}
