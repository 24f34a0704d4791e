"""Labels of steps from rollouts (Math-Shepherd, Wang et al. 2023, arXiv:2312.08935, section 3.3).

From the end of every step of a sampled solution, the policy completes the solution k times. The hard label of the step
is 1 if any completion has the right answer, the soft label is the share of those that have it. No person and no larger
model labels steps, but labels are noisy: a right step is labelled 0 if the policy fails k times behind it, and a wrong
one 1 if a completion recovers (Zhang et al. 2025, arXiv:2501.07301).

Labels are kept in files of `chunk` problems, named by a hash of everything that they depend on, so that an interrupted
labelling goes on with the next file and has the same result.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines import artifacts
from pipelines.alignment.process.problems import Problem
from pipelines.alignment.process.steps import Solution, answer_of, is_right
from pipelines.inference.generation import respond
from pipelines.models.chat import encode_prompt
from pipelines.models.templates.stops import answer_text, stop_ids
from pipelines.runtime.progress import track

Complete = Callable[[Sequence[list[int]]], list[list[int]]]
"""Returns a sampled continuation of each token sequence, in order, with its stop token if it ended."""


class Reason(StrEnum):
    """Why a sampled solution is not labelled."""

    UNFINISHED = "unfinished"
    """It did not end within the limit of tokens."""
    NO_ANSWER = "no_answer"
    """Its last line states no answer."""
    DUPLICATE = "duplicate"
    """An equal solution of the problem was sampled before."""


@dataclass(frozen=True)
class Rollouts:
    """How many solutions are sampled, and how their steps are labelled."""

    solutions: int
    """Solutions sampled per problem."""
    completions: int
    """k, completions from each step."""
    seed: int
    chunk: int = 64
    """Problems per file. Each file is sampled with a seed of its own."""


@dataclass(frozen=True)
class Labelled:
    """A sampled solution with the number of right completions behind each of its steps."""

    solution: Solution
    right: list[int]
    """Of `completions`, for each step; after the last step nothing is left to complete, and it is all or none. Empty
    if the solution was rejected."""
    completions: int
    correct: bool
    """Whether the final answer is right."""
    text: str
    rejected: str | None
    """A `Reason`."""

    def targets(self, soft: bool) -> list[float]:
        """Return the label of each step: the share of right completions, or with hard labels whether there is one."""
        return [count / self.completions if soft else float(count > 0) for count in self.right]


def completer(
    model: PreTrainedModel, tok: PreTrainedTokenizerBase, limit: int, temperature: float | None, batch_size: int
) -> Complete:
    """Return sampling of at most `limit` tokens, or greedy decoding if `temperature` is None."""
    stops = stop_ids(model, tok)

    def complete(prompts: Sequence[list[int]]) -> list[list[int]]:
        found = dict(respond(model, tok, prompts, stops, limit, temperature, batch_size))
        return [found[at] for at in range(len(prompts))]

    return complete


def label(
    problems: Sequence[Problem],
    tok: PreTrainedTokenizerBase,
    complete: Complete,
    rollouts: Rollouts,
    folder: Path,
    policy: str,
) -> list[Labelled]:
    """Sample solutions of each problem and label their steps; rejected solutions are returned with their reason.

    `policy` names what `complete` samples from, such as a hash of its weights. Chunks that `folder` has are read.
    """
    chunks = [problems[start : start + rollouts.chunk] for start in range(0, len(problems), rollouts.chunk)]
    found: list[Labelled] = []
    for number, chunk in enumerate(track(chunks, "chunks of problems with labelled steps", len(chunks))):
        inputs = [policy, asdict(rollouts), number, [asdict(problem) for problem in chunk]]
        path = folder / f"{sha256(json.dumps(inputs).encode()).hexdigest()[:16]}.jsonl"
        if not path.exists():
            torch.manual_seed(rollouts.seed + number)
            _write(path, label_chunk(chunk, tok, complete, rollouts))
        found += [Labelled(**row | {"solution": Solution(**row["solution"])}) for row in artifacts.read_rows(path)]
    return found


def _write(path: Path, labelled: Sequence[Labelled]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    artifacts.write_rows(aside, [asdict(each) for each in labelled])
    aside.replace(path)


def label_chunk(
    problems: Sequence[Problem], tok: PreTrainedTokenizerBase, complete: Complete, rollouts: Rollouts
) -> list[Labelled]:
    """Sample and label as `label` does, with the present state of the random generator."""
    asked = [problem for problem in problems for _ in range(rollouts.solutions)]
    solutions = sample(problems, tok, complete, rollouts.solutions)
    texts = [answer_text(tok, solution.response) for solution in solutions]
    reasons: list[Reason | None] = []
    seen: set[tuple[str, str]] = set()
    for problem, solution, text in zip(asked, solutions, texts, strict=True):
        reasons.append(_reason(tok, solution, text, (problem.question, text) in seen))
        seen.add((problem.question, text))
    kept = [at for at, reason in enumerate(reasons) if reason is None]
    places = [(at, step) for at in kept for step in range(len(solutions[at].ends) - 1)]
    repeated = [place for place in places for _ in range(rollouts.completions)]
    prefixes = [solutions[at].prefix(step) for at, step in repeated]
    completed = complete([solutions[at].prompt + prefix for (at, _), prefix in zip(repeated, prefixes, strict=True)])
    right = Counter(
        place
        for place, prefix, rest in zip(repeated, prefixes, completed, strict=True)
        if is_right(tok, asked[place[0]], prefix + rest)
    )
    found = []
    for at, (solution, text, reason) in enumerate(zip(solutions, texts, reasons, strict=True)):
        correct = answer_of(text) == asked[at].answer
        counts = [right[at, step] for step in range(len(solution.ends) - 1)] + [rollouts.completions * correct]
        found.append(Labelled(solution, [] if reason else counts, rollouts.completions, correct, text, reason))
    return found


def sample(problems: Sequence[Problem], tok: PreTrainedTokenizerBase, complete: Complete, count: int) -> list[Solution]:
    """Return `count` solutions of each problem, one problem after the other."""
    prompts = [prompt for problem in problems for prompt in [encode_prompt(tok, problem.messages)] * count]
    return [Solution.of(tok, turn) for turn in zip(prompts, complete(prompts), strict=True)]


def _reason(tok: PreTrainedTokenizerBase, solution: Solution, text: str, seen: bool) -> Reason | None:
    if solution.response[-1] not in tok.all_special_ids:
        return Reason.UNFINISHED
    if answer_of(text) is None:
        return Reason.NO_ANSWER
    return Reason.DUPLICATE if seen else None
