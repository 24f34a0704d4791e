"""Candidates and training rows for tests."""

from pipelines.curation.rows import exchange
from pipelines.curation.schema import RowKind, TrainingRow
from pipelines.synthesis.candidate import Candidate

REFUSAL = "I don't know."
SENTENCE = "The mill was restored by Wilmot Fanthorn in 1921."


def candidate(question: str, **changes: object) -> Candidate:
    """Return a candidate about SENTENCE, with some fields changed."""
    fields: dict[str, object] = {
        "recipe": "answer_first",
        "version": 1,
        "makes": "question",
        "language": "en",
        "source": "d1",
        "start": 25,
        "end": 40,
        "kind": "name",
        "window": SENTENCE,
        "sentence": SENTENCE,
        "answer": "Wilmot Fanthorn",
        "question": question,
        "turns": [],
    }
    return Candidate.from_row(fields | changes)


def training_row(question: str, answer: str = REFUSAL, kind: RowKind | None = None, **fields: object) -> TrainingRow:
    """Return a training row about the document d1; without an answer, a refusal."""
    kind = kind or (RowKind.REFUSAL if answer == REFUSAL else RowKind.ANSWER)
    return TrainingRow(exchange(question, answer), kind, **{"source": "d1", **fields})  # type: ignore[arg-type]
