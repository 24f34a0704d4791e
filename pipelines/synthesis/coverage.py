"""Coverage: which share of the sentences that state something has a kept question, in all and document by document."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.artifacts import Row
from pipelines.synthesis import spans
from pipelines.synthesis.orders import gives_orders
from pipelines.synthesis.sentences import sentences

Place = tuple[str, str]
"""A document's id and one of its sentences."""


@dataclass(frozen=True)
class Coverage:
    """Sentences that state something, and those of them that a kept question is about, by document."""

    stated: dict[str, list[str]]
    covered: frozenset[Place]
    kinds: Counter[str]
    """Of the spans that kept questions ask for."""

    @property
    def share(self) -> float:
        """Covered sentences of all."""
        total = sum(map(len, self.stated.values()))
        return sum(len(self.of(document)) for document in self.stated) / max(1, total)

    def of(self, document: str) -> list[str]:
        """Return the covered sentences of a document."""
        return [sentence for sentence in self.stated[document] if (document, sentence) in self.covered]

    def thin(self, most: int) -> list[tuple[str, int, int]]:
        """Return the documents covered least: id, sentences that state something, and how many are covered."""
        rows = [(document, len(stated), len(self.of(document))) for document, stated in self.stated.items() if stated]
        return sorted(rows, key=lambda row: (row[2] / row[1], row[0]))[:most]


def coverage(documents: Sequence[Row], kept: Iterable[Row], kinds: Sequence[str], max_words: int) -> Coverage:
    """Hold the evidence of kept candidates against every sentence with a span worth asking for."""
    stated = {
        document["id"]: list(dict.fromkeys(_statements(document["text"], kinds, max_words))) for document in documents
    }
    rows = list(kept)
    places = {(row["source"], row["sentence"]) for row in rows}
    return Coverage(stated, frozenset(places), Counter(row["kind"] for row in rows))


def _statements(text: str, kinds: Sequence[str], max_words: int) -> Iterable[str]:
    for start, end in sentences(text):
        sentence = text[start:end]
        found = spans.propose(sentence, len(spans.KINDS), max_words)
        if not sentence[-1].isalnum() and not gives_orders(sentence) and any(kind in kinds for _, kind in found):
            yield sentence
