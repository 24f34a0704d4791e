"""An LLM judge as a reward of online training, without a reward model (direct RLAIF).

Lee et al. 2023 (arXiv:2309.00267, section 2.3): the judge rates each answer from 1 to 10, and the reward is the
expected rating under its probabilities, scaled to [-1, 1]. Of a served judge, whose probabilities are not known, the
greedy rating is used.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.alignment.preferences.rank import Ask
from pipelines.alignment.rewards.functions import RewardFn
from pipelines.alignment.rl.samples import Sample
from pipelines.alignment.sequences import encode
from pipelines.inference.likelihood import loglikelihoods
from pipelines.llm.budget import NOT_COVERED
from pipelines.llm.cache import PATH, ResponseCache
from pipelines.llm.calls import Call
from pipelines.llm.config import TeacherConfig
from pipelines.llm.local import LocalTeacher
from pipelines.llm.prompts import Recipe, load
from pipelines.llm.teachers import load_judge
from pipelines.llm.verdicts import number
from pipelines.models.chat import encode_prompt
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.messages import Message
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say

WORST, BEST = 1, 10
EQUAL = 1e-3
"""Ratings whose range is smaller are the same, on the scale from 1 to 10."""
FEW = 8
"""So many answers may deserve the same rating."""


class Rating(NamedTuple):
    """A judge's rating from 1 to 10; None if its reply asserts none, or the call failed."""

    value: float | None
    failure: str | None = None
    """Why the call has no reply, such as `timeout` or `budget`."""


Rate = Callable[[Sequence[Call]], list[Rating]]
"""Returns the rating that each call asks for."""


@dataclass
class JudgeReward:
    """Scores answers by a judge's ratings, given the reference answer."""

    rate: Rate
    recipe: Recipe
    """The prompt of a rating."""
    parameter: str
    """The parameter that names the reward, for error messages."""
    resumed: bool = False
    """Whether the run resumes: what it rated before is not in `seen`, and was checked then."""
    seen: dict[tuple[str, str], float] = field(default_factory=dict)
    """Ratings of all answers so far, by question and answer."""

    def __call__(self, samples: Sequence[Sample]) -> Tensor:
        """Return the scores [N] from -1 to 1; an answer without a rating has the mean of the others.

        Raises:
            UserError: the budget is spent, fewer than half of the answers have a rating, or all answers so far have the
                same one. Equal ratings in a later round are no error: a policy may earn them.
        """
        answered = [(sample.prompt.messages[-1]["content"], sample.text) for sample in samples]
        ratings = self.rate([self._call(sample) for sample in samples])
        self._check_calls(ratings)
        values = zip(answered, (rating.value for rating in ratings), strict=True)
        given = {each: value for each, value in values if value is not None}
        self.seen |= given
        if not self.resumed:
            self._check_differences()
        mean = sum(given.values()) / max(len(given), 1)
        found = torch.tensor([given.get(each, mean) for each in answered])
        return (2 * found - (BEST + WORST)) / (BEST - WORST)

    def _check_calls(self, ratings: Sequence[Rating]) -> None:
        """Refuse too few ratings, and report failed calls."""
        failures = Counter(rating.failure for rating in ratings if rating.failure)
        count, failed = sum(rating.value is not None for rating in ratings), failures.total()
        most = f"{failed} of {len(ratings)} calls failed (mostly {failures.most_common(1)[0][0]})" if failed else ""
        if NOT_COVERED in failures:
            raise UserError(
                f"{self.parameter}: teacher.budget does not cover {failures[NOT_COVERED]} of the judge's "
                f"{len(ratings)} calls; raise it, or lower the row's iterations, prompts or samples."
            )
        if 2 * count < len(ratings):
            raise UserError(
                f"{self.parameter}: only {count} of the judge's {len(ratings)} replies give a number from {WORST} to "
                f"{BEST}; {f'{most}: check its server, or ' if failed else ''}name another judge, or another reward."
            )
        if failed:
            say(f"{self.parameter}: {most}; their answers get the mean of the {count} ratings.")

    def _check_differences(self) -> None:
        """Refuse a judge that rates all of the first answers alike."""
        if len(self.seen) > FEW and max(self.seen.values()) - min(self.seen.values()) < EQUAL:
            raise UserError(
                f"{self.parameter}: the judge rates all {len(self.seen)} answers so far "
                f"{min(self.seen.values()):.3g}, so that nothing can be learnt from it; name another judge, or another "
                "reward."
            )

    def _call(self, sample: Sample) -> Call:
        question = sample.prompt.messages[-1]["content"]
        filled = {"sentence": "", "question": question, "answer": sample.prompt.reference}
        language = "zh" if question.endswith("？") else "en"
        return self.recipe.call({**filled, "first": sample.text, "second": ""}, language, instructed=True)


def from_judge(
    teacher: TeacherConfig,
    base: BaseModelConfig,
    compute: ComputeConfig,
    batch_size: int,
    prompts: Path,
    parameter: str,
    folder: Path | None = None,
    resumed: bool = False,
) -> RewardFn:
    """Load the model in `folder`, else of `teacher.roles.judge`, as a reward with the prompt `prompts`/reward.yaml.

    A model in this process gives expected ratings, a served one greedy ratings. `resumed` is that of `JudgeReward`.

    Raises:
        UserError: no judge is configured, it is the fine-tuned teacher, or it or its prompt cannot be loaded.
    """
    recipe = load(prompts, "reward", parameter)
    judge = load_judge(teacher, base, compute, batch_size, ResponseCache(PATH), folder)
    if isinstance(judge.teacher, LocalTeacher):
        rate = expected_ratings(judge.teacher.model, judge.teacher.tok, recipe, batch_size)
    else:
        rate = greedy_ratings(judge.ask, recipe)
    return JudgeReward(rate, recipe, parameter, resumed)


def greedy_ratings(ask: Ask, recipe: Recipe) -> Rate:
    """Return the ratings that a judge states in its replies, by greedy decoding."""

    def rate(calls: Sequence[Call]) -> list[Rating]:
        return [Rating(number(recipe, reply, WORST, BEST), reply.failure) for reply in ask(calls, "rewarding")]

    return rate


def expected_ratings(model: PreTrainedModel, tok: PreTrainedTokenizerBase, recipe: Recipe, batch_size: int) -> Rate:
    """Return the expected ratings of `model`, which is in eval mode: sum of r p(r) / sum of p(r) over r from 1 to 10.

    p(r) is the probability of the whole reply, such as {"choice": 7}. What all replies have in common cancels, and a
    tokenizer that splits 10 into 1 and 0 does not count 10 as 1, too.
    """
    ratings = range(WORST, BEST + 1)
    texts = [json.dumps({"choice": rating}) if recipe.fields else str(rating) for rating in ratings]
    asked: list[Message] = [{"role": "user", "content": "?"}]  # the tokens of a reply do not depend on it
    replies = [encode(tok, asked, [{"role": "assistant", "content": text}])[1] for text in texts]

    def rate(calls: Sequence[Call]) -> list[Rating]:
        contexts = [encode_prompt(tok, call.messages) for call in calls]
        found = [Rating(None)] * len(calls)
        for place, logs in loglikelihoods(model, tok, contexts, [replies] * len(calls), batch_size):
            found[place] = Rating(float(torch.tensor(logs).softmax(0) @ torch.tensor(ratings, dtype=torch.float32)))
        return found

    return rate
