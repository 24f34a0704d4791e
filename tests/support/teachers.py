"""Scripted teachers, whose answers are a function of the last message."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.llm.calls import Call, Reply

PROMPTS = Path(__file__).parents[2] / "data/prompts"


class Script:
    """Answers every call with `says` of its last message; None is a failed call."""

    def __init__(
        self, says: Callable[[str], str | None], instructed: bool = True, certainty: float | None = None
    ) -> None:
        self.says, self.instructed, self.certainty = says, instructed, certainty
        self.calls: list[Call] = []

    def ask(self, calls: Sequence[Call], what: str) -> list[Reply]:
        self.calls += calls
        answers = [self.says(call.messages[-1]["content"]) for call in calls]
        return [
            Reply(text, certainty=self.certainty) if text is not None else Reply(None, "timeout") for text in answers
        ]


def question_in(prompt: str) -> str:
    """Return the question in a prompt for a reader or judge."""
    return prompt.split("Question: ")[1].split("\n")[0]
