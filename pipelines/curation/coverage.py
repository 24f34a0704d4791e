"""Coverage: the share of the statements with answer spans that have a kept question, overall and by document."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.artifacts import Row
from pipelines.data.statements import Sentence, document_sentences
from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.config import SynthesizeConfig
from pipelines.synthesis.planner import Corpus, heading
from pipelines.synthesis.prompt_injection import is_prompt_injection

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
    corpus = Corpus.of([sentence.text for group in texts.values() for sentence in group])
    stated: dict[str, list[str]] = {}
    for document in documents:
        title = heading(document["title"])
        statements = (each.text for each in texts[document["id"]] if each.is_statement)
        stated[document["id"]] = list(dict.fromkeys(each for each in statements if corpus.ranked(each, title, config)))
    candidates = list(kept)
    places = {(each.source, each.sentence) for each in candidates}
    return Coverage(stated, frozenset(places), Counter(each.kind for each in candidates if each.kind))


def _sentences(text: str) -> list[Sentence]:
    return [each for each in document_sentences(text) if not is_prompt_injection(each.text)]
