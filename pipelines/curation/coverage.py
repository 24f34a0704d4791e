"""Coverage: which share of the sentences that state something has a kept question, in all and document by document."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.artifacts import Row
from pipelines.synthesis.planner import Corpus, heading
from pipelines.synthesis.prompt_injection import is_prompt_injection
from pipelines.text.sentences import sentences

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
    """Hold the evidence of kept candidates against every sentence that the planner would ask about."""
    found = {document["id"]: _sentences(document["text"]) for document in documents}
    corpus = Corpus.of([sentence for texts in found.values() for sentence in texts])
    stated: dict[str, list[str]] = {}
    for document in documents:
        title = heading(document["title"])
        worth = (each for each in found[document["id"]] if corpus.ranked(each, title, kinds, max_words))
        stated[document["id"]] = list(dict.fromkeys(worth))
    rows = list(kept)
    places = {(row["source"], row["sentence"]) for row in rows}
    return Coverage(stated, frozenset(places), Counter(row["kind"] for row in rows if row["kind"]))


def _sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text) if not is_prompt_injection(text[start:end])]
