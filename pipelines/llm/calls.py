"""What is asked of a model, what comes back, and the key that tells one call from every other."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from pipelines.models.messages import Message

_FORM = 1  # of what is hashed; another form is another key


@dataclass(frozen=True)
class Call:
    """One question to a model, with all that decides its answer but the model and its seed."""

    messages: list[Message]
    max_tokens: int
    temperature: float | None = None
    """None is greedy."""
    schema: dict[str, Any] | None = None
    """JSON Schema of the answer, where it has to be JSON."""
    sample: int = 0
    """Which of several answers to the same question."""


@dataclass(frozen=True)
class Answer:
    """What a model said, as it came, and what it took."""

    raw: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    certainty: float | None = None
    """The lowest probability that the model gave one of its tokens, before any temperature; None: not told."""


@dataclass(frozen=True)
class Reply:
    """A model's answer, read, or why there is none."""

    text: str | None
    failure: str | None = None
    certainty: float | None = None
    """As the answer's."""


@dataclass(frozen=True)
class Failure:
    """Why a call has no answer that can be used, and what it took all the same."""

    reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    words: str = ""
    """What the server said of it, where the reason does not hold that."""
    pause: float = 0.0
    """Seconds that the server asks every caller to wait."""


Keep = Callable[[int, Answer | Failure], None]
"""Takes the place of a call and its answer, or why it failed."""


class Teacher(Protocol):
    """Answers calls."""

    instructed: bool
    """Whether it needs the instructions spelt out."""
    neighbours: bool
    """Whether an answer depends, in its last digits, on the calls that are answered beside it."""
    deterministic: bool
    """Whether a call that had no usable answer would have none again, so that asking once more is in vain."""

    def found(self, what: str, count: int) -> None:
        """Learn how many calls of this kind of work the store answers."""

    def answer(self, calls: Sequence[Call], wanted: Mapping[int, str], what: str, keep: Keep) -> None:
        """Answer the calls whose places are `wanted`, in any order, and `keep` each as soon as it is there.

        `wanted` gives every place its key; `what` names the work to whoever watches.
        """

    def read(self, raw: str) -> Reply:
        """Return what a raw answer says."""


Outcome = TypeVar("Outcome", Answer, Failure)


def after(before: Failure, outcome: Outcome) -> Outcome:
    """Return the outcome of a call with what an attempt before it took, too."""
    return replace(
        outcome,
        prompt_tokens=before.prompt_tokens + outcome.prompt_tokens,
        completion_tokens=before.completion_tokens + outcome.completion_tokens,
        cost=before.cost + outcome.cost,
    )


def key(call: Call, model: str, revision: str, seed: int, beside: str = "") -> str:
    """Return the SHA-256 of all that decides an answer; `beside` tells the calls that are answered beside it."""
    said = [_FORM, model, revision, seed, call.messages, call.max_tokens, call.temperature, call.schema, call.sample]
    return hashlib.sha256(json.dumps([*said, beside], sort_keys=True, ensure_ascii=False).encode()).hexdigest()
