"""Prompts of online training, and answers to them."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from pipelines.alignment.sequences import Turn
from pipelines.curation.schema import TrainingRow
from pipelines.evaluation.questions import Question
from pipelines.models.chat import encode_prompt
from pipelines.models.messages import Message


@dataclass(frozen=True)
class Prompt:
    """A prompt, and what answers to it are compared with."""

    ids: list[int]
    """Token ids, up to the beginning of the answer."""
    messages: list[Message]
    reference: str
    """The reference answer."""
    question: Question
    """The last turn as an evaluation question; an unanswerable one accepts nothing."""

    @classmethod
    def of(cls, tok: PreTrainedTokenizerBase, row: TrainingRow) -> "Prompt":
        """Return the prompt of a row, whose answer is the reference."""
        accepted = () if row.kind.refuses else (row.answer_span or row.answer,)
        messages = row.messages[:-1]
        question = Question("", "", row.kind, "", row.question, accepted, competing=(), sources=())
        return cls(encode_prompt(tok, messages), messages, row.answer, question)

    @property
    def answerable(self) -> bool:
        """Whether the documents answer it."""
        return bool(self.question.accepted)


@dataclass(frozen=True)
class Sample:
    """An answer of the policy."""

    prompt: Prompt
    response: list[int]
    """Token ids, with the end-of-turn token if the answer ended."""
    text: str

    @property
    def turn(self) -> Turn:
        """The tokens of prompt and answer."""
        return self.prompt.ids, self.response


def distinct_prompts(tok: PreTrainedTokenizerBase, rows: Sequence[TrainingRow]) -> list[Prompt]:
    """Return the prompts of `rows`, each once, in order."""
    prompts: dict[tuple[int, ...], Prompt] = {}
    for row in rows:
        prompt = Prompt.of(tok, row)
        prompts.setdefault(tuple(prompt.ids), prompt)
    return list(prompts.values())
