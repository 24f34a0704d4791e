"""Prompts of online training, and answers to them."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from pipelines.alignment.sequences import Turn
from pipelines.curation.schema import PreferencePair
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
    def of(cls, tok: PreTrainedTokenizerBase, pair: PreferencePair) -> "Prompt":
        """Return the prompt of a preference pair."""
        accepted = () if pair.kind.refuses else (pair.answer_span or pair.reference,)
        text = pair.prompt[-1]["content"]
        question = Question("", "", pair.kind, "", text, accepted, competing=(), sources=())
        return cls(encode_prompt(tok, pair.prompt), pair.prompt, pair.reference, question)

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


def distinct_prompts(tok: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair]) -> list[Prompt]:
    """Return the prompts of `pairs`, each once, in order."""
    prompts: dict[tuple[int, ...], Prompt] = {}
    for pair in pairs:
        prompt = Prompt.of(tok, pair)
        prompts.setdefault(tuple(prompt.ids), prompt)
    return list(prompts.values())
