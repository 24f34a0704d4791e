"""Solutions as steps: each line is one, and is scored at its last token.

Steps are found in the sampled tokens instead of a new encoding of their text, so that a reward model scores, and
rollouts continue, the tokens that the policy chose.
"""

from dataclasses import dataclass
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from pipelines.alignment.process.problems import ANSWER, Problem
from pipelines.alignment.sequences import Turn
from pipelines.models.templates.stops import answer_text


@dataclass(frozen=True)
class Solution:
    """A solution as token ids: `prompt`, `response`, and the index in `response` of the last token of each step."""

    prompt: list[int]
    response: list[int]
    ends: list[int]

    @classmethod
    def of(cls, tok: PreTrainedTokenizerBase, turn: Turn) -> "Solution":
        """Divide the response of `turn` into steps."""
        return cls(*turn, step_ends(tok, turn[1]))

    @property
    def turn(self) -> Turn:
        """Prompt and response."""
        return self.prompt, self.response

    def prefix(self, step: int) -> list[int]:
        """Return the response up to the end of `step`."""
        return self.response[: self.ends[step] + 1]


def step_ends(tok: PreTrainedTokenizerBase, response: list[int]) -> list[int]:
    """Return the index of the last token of each step: the token with the line break, and the last token of all.

    Blank lines belong to the step before, and so does what follows the last line, such as the end of turn.
    """
    breaks = line_breaks(tok)
    silent = breaks.union(tok.all_special_ids)
    ends: list[int] = []
    written = False  # whether the present line has text
    for at, token in enumerate(response[:-1]):
        written |= token not in silent
        if written and token in breaks and response[at + 1] not in silent:
            ends.append(at)
            written = False
    return [*ends, len(response) - 1]


@lru_cache(maxsize=16)
def line_breaks(tok: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the tokens whose text has a line break."""
    texts = tok.batch_decode([[token] for token in range(len(tok))])
    return frozenset(token for token, text in enumerate(texts) if "\n" in text)


def lines(text: str) -> list[str]:
    """Return the lines of a solution, without blank ones."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def answer_of(text: str) -> str | None:
    """Return the final answer of a solution; None if its last line states none."""
    last = (lines(text) or [""])[-1]
    return last.removeprefix(ANSWER).strip() or None if last.startswith(ANSWER) else None


def is_right(tok: PreTrainedTokenizerBase, problem: Problem, response: list[int]) -> bool:
    """Return whether the final answer of `response` is that of the problem."""
    return answer_of(answer_text(tok, response)) == problem.answer


def true_steps(tok: PreTrainedTokenizerBase, problem: Problem, solution: Solution) -> list[bool]:
    """Return for each step whether it and all steps before it are those of the reference solution."""
    found = [lines(answer_text(tok, solution.prefix(step))) for step in range(len(solution.ends))]
    return [each == list(problem.steps[: len(each)]) for each in found]
