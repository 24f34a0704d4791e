"""What training must not say because it is measured: answers of evaluation questions, and questions of their families.

A question of the same family ("the capital of Canada" and "of Portugal") teaches how the measured one is answered; a
text that states its answer teaches the answer, however it is worded.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipelines.artifacts import Row
from pipelines.evaluation.statements import is_ordinal, stem
from pipelines.text.normalize import spans, tokens
from pipelines.text.stopwords import STOP_WORDS

_NAME = re.compile(r"(?<!^)\b[A-Z][\w'’]*")
_ASKING = frozenset(
    re.findall(
        r"\w+",
        """name tell give list please kind sort type many much often say describe explain define find first main most
        known call called according us me word one s""",
    )
)
_SUPERLATIVE = re.compile(r"\w{3,}est")
_HEADS = 3  # content words within which a prompt says what it asks for


@dataclass(frozen=True)
class Answered:
    """An evaluation question as texts are held against it."""

    accepted: tuple[tuple[str, ...], ...]
    content: frozenset[str]
    """Stems of the question's content words, without those of its answer."""


class Measured:
    """The evaluation questions; `general` are those whose families must not be rehearsed."""

    def __init__(self, questions: Iterable[Row], general: Iterable[Row], coverage: float) -> None:
        """Hold texts against `questions`: rows with `question`, and `answer` and `aliases` where there are any."""
        answered = [_answered(row) for row in questions if row.get("answer")]
        self.answered = [each for each in answered if each.content]
        self.families = {head for row in general for head in _heads(row["question"])[:1]}
        self.coverage = coverage

    def states(self, text: str) -> bool:
        """Tell whether `text` holds an accepted answer and most of what its question asks about."""
        words = tokens(text)
        every, stems = set(words), {stem(word) for word in words}
        return any(
            len(each.content & stems) >= self.coverage * len(each.content) and _holds(words, every, each.accepted)
            for each in self.answered
        )

    def asks(self, prompt: str) -> bool:
        """Tell whether `prompt` asks for what a general question asks for, of something else."""
        return not self.families.isdisjoint(_heads(prompt)[:_HEADS])

    def reason(self, prompt: str, answer: str) -> str | None:
        """Name what a rehearsed prompt and its answer give away, or return None."""
        if self.states(f"{prompt}\n{answer}"):
            return "states_answer"
        return "measured_family" if self.asks(prompt) else None


def apart_from(rows: Iterable[Row], measured: Measured) -> tuple[list[Row], list[Row]]:
    """Split rehearsed rows (`prompt`, `answer`) into those that give nothing away, and the rest with its `reason`."""
    judged = [(row, measured.reason(row["prompt"], row["answer"])) for row in rows]
    return [row for row, reason in judged if reason is None], [{**row, "reason": why} for row, why in judged if why]


def unstated(rows: Iterable[Row], measured: Measured) -> tuple[list[Row], list[Row]]:
    """Split rows with `messages` into those in which no turn states a measured answer, and the rest with a reason."""
    kept: list[Row] = []
    rejected: list[Row] = []
    for row in rows:
        if any(measured.states(text) for text in _exchanges(row["messages"])):
            rejected.append({**row, "question": row["messages"][0]["content"], "reason": "states_answer"})
        else:
            kept.append(row)
    return kept, rejected


def _exchanges(messages: Sequence[dict[str, str]]) -> Iterator[str]:
    """Yield each message with the one before it: a question and its answer."""
    for before, message in zip([None, *messages], messages, strict=False):
        yield f"{before['content']}\n{message['content']}" if before else message["content"]


def _answered(row: Row) -> Answered:
    accepted = [tuple(tokens(variant)) for variant in (row["answer"], *row.get("aliases", []))]
    own = {stem(word) for words in accepted for word in words}
    content = {stem(word) for word in tokens(row["question"]) if word not in STOP_WORDS}
    return Answered(tuple(accepted), frozenset(content - own))


def _holds(words: list[str], every: set[str], accepted: Iterable[tuple[str, ...]]) -> bool:
    return any(every.issuperset(variant) and spans(words, list(variant)) for variant in accepted)


def _heads(question: str) -> list[str]:
    """Return what a question asks for, by the stems of its content words: names, ranks and asking words left out."""
    words = tokens(_NAME.sub(" ", question))
    return [stem(word) for word in words if word not in STOP_WORDS | _ASKING | {"1"} and not _ranks(word)]


def _ranks(word: str) -> bool:
    return is_ordinal(word) or _SUPERLATIVE.fullmatch(word) is not None
