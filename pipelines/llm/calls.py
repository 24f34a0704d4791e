"""Calls to a model, their outcomes, and the cache key of a call."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from pipelines.models.messages import Message

_FORM = 1  # version of the hashed fields; another version yields other keys


@dataclass(frozen=True)
class Call:
    """One request to a model, with everything that determines its answer except the model and its seed."""

    messages: list[Message]
    max_tokens: int
    temperature: float | None = None
    """None is greedy decoding."""
    schema: dict[str, Any] | None = None
    """JSON Schema of the answer; None for plain text."""
    sample: int = 0
    """Index among several samples for the same request."""


@dataclass(frozen=True)
class Answer:
    """The raw answer of a model, with its tokens and cost."""

    raw: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    certainty: float | None = None
    """Minimum token probability, before temperature scaling; None when unknown."""


@dataclass(frozen=True)
class Reply:
    """A model's parsed answer, or the reason why there is none."""

    text: str | None
    failure: str | None = None
    certainty: float | None = None
    """Minimum token probability of the answer, as in `Answer`."""


@dataclass(frozen=True)
class Failure:
    """The reason why a call has no usable answer, with the tokens and cost it took nevertheless."""

    reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    words: str = ""
    """The server's error message, unless the reason contains it."""
    pause: float = 0.0
    """Seconds that the server asks clients to wait."""


Keep = Callable[[int, Answer | Failure], None]
"""Callback that receives the position of a call and its answer or failure."""


class Teacher(Protocol):
    """A model that answers calls."""

    instructed: bool
    """Whether the prompt must include the instructions."""
    batch_dependent: bool
    """Whether an answer depends, in its last digits, on the other calls of its batch."""

    def count_cached(self, what: str, count: int) -> None:
        """Receive the number of calls of this kind of work that the cache answers."""

    def answer(self, calls: Sequence[Call], wanted: Mapping[int, str], what: str, keep: Keep) -> None:
        """Answer the calls at the positions in `wanted`, in any order, and pass each outcome to `keep` immediately.

        `wanted` maps positions to cache keys; `what` names the work in progress reports.
        """

    def read(self, raw: str) -> Reply:
        """Parse a raw answer."""


Outcome = TypeVar("Outcome", Answer, Failure)


def after(before: Failure, outcome: Outcome) -> Outcome:
    """Return an outcome whose tokens and cost include those of the attempt before it."""
    return replace(
        outcome,
        prompt_tokens=before.prompt_tokens + outcome.prompt_tokens,
        completion_tokens=before.completion_tokens + outcome.completion_tokens,
        cost=before.cost + outcome.cost,
    )


def key(call: Call, model: str, revision: str, seed: int, beside: str = "") -> str:
    """Return the SHA-256 of everything that determines an answer; `beside` identifies the other calls of its batch."""
    inputs = [_FORM, model, revision, seed, call.messages, call.max_tokens, call.temperature, call.schema, call.sample]
    return hashlib.sha256(json.dumps([*inputs, beside], sort_keys=True, ensure_ascii=False).encode()).hexdigest()
