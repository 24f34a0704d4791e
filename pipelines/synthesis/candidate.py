"""A candidate: the question and answer that a teacher wrote, their place in the corpus, and the validation results."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from pipelines.artifacts import Row
from pipelines.llm.calls import Call, Reply

SHORT_ANSWER = ("question", "wording")
"""Values of `Candidate.makes` with answers short enough for a round trip."""


class Teacher(Protocol):
    """A language model that answers calls, in order."""

    instructed: bool
    """Whether its prompts contain the instructions; a fine-tuned teacher needs none."""

    def ask(self, calls: Sequence[Call], what: str) -> list[Reply]:
        """Answer every call; `what` labels progress bars and the call log."""


@dataclass(frozen=True)
class Candidate:
    """A question or task, its answer, and its evidence.

    `start` and `end` are character offsets in the document `source`: of the answer if it is a verbatim span, else of
    its evidence. `window` is the passage in the teacher's prompt. `reason` is the rejection reason, if any.
    """

    recipe: str
    version: int
    makes: str
    """The type of its content: see prompts.FIELDS."""
    language: str
    source: str
    start: int
    end: int
    kind: str
    """Kind of the answer span; empty without a span."""
    window: str
    sentence: str
    answer: str = ""
    question: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    """Questions and answers of a conversation; the first question is `question`."""
    writer_probability: float | None = None
    """Minimum token probability of the question under the writer; None where the model reports none."""
    read: str | None = None
    """The reader's answer."""
    reader_probability: float | None = None
    """Minimum token probability of the reader's answer; None where the model reports none."""
    consistency: float | None = None
    """Share of the reader's sampled answers that agree with the answer."""
    reason: str | None = None

    def rejected(self, reason: str) -> "Candidate":
        """Return the candidate with a rejection reason."""
        return replace(self, reason=reason)

    def as_row(self) -> Row:
        """Return the candidate as a row of candidates.jsonl."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Row) -> "Candidate":
        """Return a candidate as read from candidates.jsonl."""
        return cls(**{**row, "turns": tuple((question, answer) for question, answer in row["turns"])})


def locate(evidence: str, text: str) -> tuple[int, int] | None:
    """Return the span of `evidence` in `text`, with a final stop; only white space and punctuation may differ."""
    words = re.findall(r"\w+", evidence)
    if not words:
        return None
    match = re.search(r"(?<!\w)" + r"\W+".join(map(re.escape, words)) + r"(?!\w)[.!?。！？]?", text)
    return match.span() if match else None
