"""Coverage: the share of the sentences with facts that have a kept question, overall and by document."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.artifacts import Row
from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.config import SynthesizeConfig
from pipelines.synthesis.planner import Corpus, heading
from pipelines.synthesis.prompt_injection import is_prompt_injection
from pipelines.text.sentences import sentences

Place = tuple[str, str]
"""(document id, sentence)"""


@dataclass(frozen=True)
class Coverage:
    """Sentences that state facts, by document, and the covered ones, which have a kept question."""

    stated: dict[str, list[str]]
    covered: frozenset[Place]
    kinds: Counter[str]
    """Number of kept questions by kind of the answer span."""

    @property
    def share(self) -> float:
        """Share of the stated sentences that are covered."""
        total = sum(map(len, self.stated.values()))
        return sum(len(self.of(document)) for document in self.stated) / max(1, total)

    def of(self, document: str) -> list[str]:
        """Return the covered sentences of a document."""
        return [sentence for sentence in self.stated[document] if (document, sentence) in self.covered]

    def least_covered(self, most: int) -> list[tuple[str, int, int]]:
        """Return (id, stated sentences, covered sentences) of the `most` documents with the lowest coverage."""
        rows = [(document, len(stated), len(self.of(document))) for document, stated in self.stated.items() if stated]
        return sorted(rows, key=lambda row: (row[2] / row[1], row[0]))[:most]


def coverage(documents: Sequence[Row], kept: Iterable[Candidate], config: SynthesizeConfig) -> Coverage:
    """Compare the evidence of kept candidates with every sentence that the planner would ask about."""
    texts = {document["id"]: _sentences(document["text"]) for document in documents}
    corpus = Corpus.of([sentence for group in texts.values() for sentence in group])
    stated: dict[str, list[str]] = {}
    for document in documents:
        title = heading(document["title"])
        factual = (each for each in texts[document["id"]] if corpus.ranked(each, title, config))
        stated[document["id"]] = list(dict.fromkeys(factual))
    candidates = list(kept)
    places = {(each.source, each.sentence) for each in candidates}
    return Coverage(stated, frozenset(places), Counter(each.kind for each in candidates if each.kind))


def _sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text) if not is_prompt_injection(text[start:end])]
