"""A candidate: what a teacher wrote about a passage, where that stands, and what its examiners made of it."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from pipelines.artifacts import Row
from pipelines.llm.calls import Call, Reply

SHORT = ("question", "wording")
"""What candidates are (`makes`) whose answer is short enough to be read back."""


class Asked(Protocol):
    """Somebody who answers calls, in order."""

    instructed: bool
    """Whether it needs the instructions spelt out."""

    def ask(self, calls: Sequence[Call], what: str) -> list[Reply]:
        """Answer every call; `what` names the work to whoever watches."""


@dataclass(frozen=True)
class Candidate:
    """A question or task, its answer, and its evidence.

    `start` and `end` are characters of the document `source`: of the answer where it stands there word for word, else
    of its evidence. `window` is what the teacher was shown. `reason` tells why it is rejected, if it is.
    """

    recipe: str
    version: int
    makes: str
    """What it is: see recipes.FIELDS."""
    language: str
    source: str
    start: int
    end: int
    kind: str
    """Of the span that is asked for; empty where none is."""
    window: str
    sentence: str
    answer: str = ""
    question: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    """Of a conversation, each question and answer; the first question is `question`."""
    writer_probability: float | None = None
    """The writer's of its question: the lowest probability of a token; None where it does not tell."""
    read: str | None = None
    """What the reader answered."""
    reader_probability: float | None = None
    """The reader's of its answer, likewise."""
    consistency: float | None = None
    """Share of the reader's samples that agree with the answer."""
    reason: str | None = None

    def rejected(self, reason: str) -> "Candidate":
        """Return it with the reason why it is of no use."""
        return replace(self, reason=reason)

    def as_row(self) -> Row:
        """Return it as a row of candidates.jsonl."""
        return asdict(self)


def place(evidence: str, text: str) -> tuple[int, int] | None:
    """Return where `evidence` stands in `text`, word for word, up to a final stop; white space and marks may differ."""
    words = re.findall(r"\w+", evidence)
    if not words:
        return None
    found = re.search(r"(?<!\w)" + r"\W+".join(map(re.escape, words)) + r"(?!\w)[.!?。！？]?", text)
    return found.span() if found else None
