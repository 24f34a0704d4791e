"""Rows of the data sets from `curate` to `align`, and rejections."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.models.messages import Message


class RowKind(StrEnum):
    """The kind of a training row."""

    ANSWER = "answer"
    """A question, answered by the clause that contains the answer."""
    REFUSAL = "refusal"
    """A question without an answer in the corpus, answered by the refusal."""
    TASK = "task"
    """A task or conversation, used verbatim."""
    REHEARSAL = "rehearsal"
    """A general prompt with the base model's own answer."""
    KEYWORD_QUERY = "keyword_query"
    """A keyword query, answered by the clause that contains the answer."""
    KEYWORD_QUERY_REFUSAL = "keyword_query_refusal"
    """A keyword query with an invented name, answered by the refusal."""

    @property
    def refuses(self) -> bool:
        """Whether rows of this kind are answered by the refusal."""
        return self in (RowKind.REFUSAL, RowKind.KEYWORD_QUERY_REFUSAL)


@dataclass(frozen=True)
class TrainingRow:
    """A row of train.jsonl, validation.jsonl and preference_prompts.jsonl."""

    messages: list[Message]
    """Alternating turns of user and assistant, the last one the assistant's."""
    kind: RowKind
    answer_span: str | None = None
    """The span that an answer must contain to be correct; None: the whole answer."""
    variant: int | None = None
    """The variant (an epoch, modulo `curate.num_variants`) that the row belongs to; None: all."""
    source: str | None = None
    """Id of the document that the row is about."""
    span: list[int] | None = None
    """Character offsets (start, end) in that document, of the answer or else of its evidence."""
    evidence: str | None = None
    """The sentence that states the answer."""

    @property
    def question(self) -> str:
        """The user's last turn."""
        return self.messages[-2]["content"]

    @property
    def answer(self) -> str:
        """The assistant's last turn."""
        return self.messages[-1]["content"]

    @classmethod
    def from_row(cls, row: Row) -> "TrainingRow":
        """Return the row for a JSON object of a file."""
        return cls(**{**row, "kind": RowKind(row["kind"])})

    def as_row(self) -> Row:
        """Return the row as the JSON object that is written."""
        return dict(vars(self))


@dataclass(frozen=True)
class PreferencePair:
    """A chosen and a rejected response to one prompt, in TRL's conversational preference format."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    kind: RowKind
    source: str | None
    reference: str
    """The reference answer."""
    provenance: str
    """Origin of the rejected response, or of the pair for rankers: sample, hard_negative, refusal, judge, …"""
    margin: float
    """Difference in quality of the two responses, from 0 to 1."""
    answer_span: str | None = None
    """The span of the reference that an answer must contain to be correct; None: the whole reference."""

    @classmethod
    def of(cls, row: TrainingRow, chosen: str, rejected: str, provenance: str, margin: float) -> "PreferencePair":
        """Return the pair of two responses to the prompt of `row`, whose answer is the reference."""
        return cls(
            prompt=row.messages[:-1],
            chosen=[{"role": "assistant", "content": chosen}],
            rejected=[{"role": "assistant", "content": rejected}],
            kind=row.kind,
            source=row.source,
            reference=row.answer,
            provenance=provenance,
            margin=margin,
            answer_span=row.answer_span,
        )

    @classmethod
    def from_row(cls, row: Row) -> "PreferencePair":
        """Return the pair for a JSON object of a file."""
        return cls(**{**row, "kind": RowKind(row["kind"])})

    def as_row(self) -> Row:
        """Return the pair as the JSON object that is written."""
        return dict(vars(self))


@dataclass(frozen=True)
class Rejection:
    """A row excluded from a data set, and the reason."""

    row: Row
    """The row as read or generated; reports show its `question`."""
    reason: str
    """A `Reason`, or the failure of a call or of a file format."""

    def as_row(self) -> Row:
        """Return the row as it is written to rejects.jsonl."""
        return {**self.row, "reason": self.reason}


def read_training_rows(path: Path) -> list[TrainingRow]:
    """Read train.jsonl, validation.jsonl or preference_prompts.jsonl of `curate`, or online prompts of `pairs`."""
    return [TrainingRow.from_row(row) for row in artifacts.read_rows(path)]


def read_pairs(path: Path) -> list[PreferencePair]:
    """Read train.jsonl or held_out.jsonl of `pairs`."""
    return [PreferencePair.from_row(row) for row in artifacts.read_rows(path)]


def write(path: Path, rows: Iterable[TrainingRow | PreferencePair | Rejection]) -> None:
    """Write rows as JSON lines."""
    artifacts.write_rows(path, (row.as_row() for row in rows))
