"""Leaks of the evaluation into training: texts that state an evaluation answer, and questions of the same family.

A question of the same family ("the capital of Canada" and "of Portugal") trains the format of the evaluation question;
a text that states its answer trains the answer, in any wording. Questions with choices have no families: nothing is
generated, so there is no format to train, and the families of a thousand of them would leave little to rehearse.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipelines.artifacts import Row
from pipelines.curation.schema import Rejection, TrainingRow
from pipelines.evaluation.statements import content_stems, is_ordinal, stem
from pipelines.synthesis.reasons import Reason
from pipelines.text.names import UPPER
from pipelines.text.normalize import spans, tokens
from pipelines.text.stopwords import STOP_WORDS

_NAME = re.compile(rf"(?<!^)(?<!\w)[{UPPER}][\w'’]*")
_ASKING = frozenset(
    re.findall(
        r"\w+",
        """name tell give list please kind sort type many much often say describe explain define find first main most
        known call called according us me word one s""",
    )
)
_SUPERLATIVE = re.compile(r"\w{3,}est")
_HEADS = 3  # first content words of a prompt, which name the property it asks for


@dataclass(frozen=True)
class Answered:
    """An evaluation question with an answer, tokenised for comparison with texts."""

    accepted: tuple[tuple[str, ...], ...]
    content: frozenset[str]
    """Stems of the question's content words, without those of its answer."""


class Measured:
    """The evaluation questions: `states` finds their answers in texts, `asks` the families of the `general` ones."""

    def __init__(self, questions: Iterable[Row], general: Iterable[Row], coverage: float) -> None:
        """Index `questions`: rows with `question`, and `answer` and `aliases` if they are answerable.

        The families are those of the `general` questions without `choices`.
        """
        answered = [_answered(row) for row in questions if row.get("answer")]
        self.answered = [each for each in answered if each.content]
        self.containing: dict[str, list[int]] = defaultdict(list)  # places in `answered`, by content word
        for place, each in enumerate(self.answered):
            for word in each.content:
                self.containing[word].append(place)
        self.families = {head for row in general if not row.get("choices") for head in _heads(row["question"])[:1]}
        self.coverage = coverage

    def states(self, text: str) -> bool:
        """Return whether `text` contains an accepted answer and most content words of its question."""
        words = tokens(text)
        every = set(words)
        shared = Counter(place for each in {stem(word) for word in every} for place in self.containing.get(each, ()))
        return any(
            count >= self.coverage * len(self.answered[place].content)
            and _contains(words, every, self.answered[place].accepted)
            for place, count in shared.items()
        )

    def asks(self, prompt: str) -> bool:
        """Return whether `prompt` asks for the same property as a general question, of any entity."""
        return not self.families.isdisjoint(_heads(prompt)[:_HEADS])

    def reason(self, prompt: str, answer: str) -> str | None:
        """Return why a rehearsal prompt with its answer leaks an evaluation question, or None."""
        if self.states(f"{prompt}\n{answer}"):
            return Reason.STATES_ANSWER
        return Reason.MEASURED_FAMILY if self.asks(prompt) else None


def without_measured(rows: Iterable[Row], measured: Measured) -> tuple[list[Row], list[Rejection]]:
    """Split rehearsal rows (`prompt`, `answer`) into rows without leaks of the evaluation, and rejections."""
    reasons = [(row, measured.reason(row["prompt"], row["answer"])) for row in rows]
    kept = [row for row, reason in reasons if reason is None]
    return kept, [Rejection(row, reason) for row, reason in reasons if reason is not None]


def without_stated_answers(
    rows: Iterable[TrainingRow], measured: Measured
) -> tuple[list[TrainingRow], list[Rejection]]:
    """Split rows into conversations in which no turn states an evaluation answer, and rejections."""
    kept: list[TrainingRow] = []
    rejected: list[Rejection] = []
    for row in rows:
        if any(measured.states(text) for text in _exchanges(row.messages)):
            rejected.append(Rejection({**row.as_row(), "question": row.messages[0]["content"]}, Reason.STATES_ANSWER))
        else:
            kept.append(row)
    return kept, rejected


def _exchanges(messages: Sequence[dict[str, str]]) -> Iterator[str]:
    """Yield each message together with the one before it: a question and its answer."""
    for before, message in zip([None, *messages], messages, strict=False):
        yield f"{before['content']}\n{message['content']}" if before else message["content"]


def _answered(row: Row) -> Answered:
    accepted = [tuple(tokens(variant)) for variant in (row["answer"], *row.get("aliases", []))]
    answer_stems = {stem(word) for words in accepted for word in words}
    return Answered(tuple(accepted), frozenset(content_stems(row["question"])) - answer_stems)


def _contains(words: list[str], every: set[str], accepted: Iterable[tuple[str, ...]]) -> bool:
    return any(every.issuperset(variant) and spans(words, list(variant)) for variant in accepted)


def _heads(question: str) -> list[str]:
    """Return the stems of the content words of a question, without names, ranks and question words."""
    words = tokens(_NAME.sub(" ", question))
    return [stem(word) for word in words if word not in STOP_WORDS | _ASKING | {"1"} and not _is_rank(word)]


def _is_rank(word: str) -> bool:
    return is_ordinal(word) or _SUPERLATIVE.fullmatch(word) is not None
