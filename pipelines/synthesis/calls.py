"""What is asked of a model, and what comes back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.generation import Message


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
class Reply:
    """A model's raw answer, or why there is none."""

    text: str | None
    failure: str | None = None


class Teacher(Protocol):
    """Answers calls."""

    instructed: bool
    """Whether it needs the instructions spelt out."""
    context: int | None
    """How many tokens of prompt and answer it can take; None where nobody knows."""

    def answer(self, calls: Sequence[Call], what: str, keep: Callable[[int, Reply], None]) -> None:
        """Answer every call, in any order: `keep` is given the place of each and its reply as soon as there is one.

        `what` names the work to whoever watches.
        """
