"""A judge as a reward: expected ratings of a local model, greedy ones of a served model, and unusable judges."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from pipelines.alignment.rewards.judge import JudgeReward, Rating, expected_ratings, from_judge, greedy_ratings
from pipelines.alignment.rl.samples import Prompt, Sample
from pipelines.alignment.sequences import encode
from pipelines.config import Config
from pipelines.evaluation.questions import Question
from pipelines.llm.calls import Call, Reply
from pipelines.llm.prompts import Recipe, load
from pipelines.models import loading
from pipelines.models.messages import Message
from pipelines.runtime.errors import UserError
from tests.conftest import tiny_model, tiny_tokenizer
from tests.support.teachers import PROMPTS, Script

pytestmark = pytest.mark.slow

PARAMETER, RECIPE = "rl@grpo: reward", load(PROMPTS, "reward")


def sample(answer: str, question: str = "Who keeps the lamp?", reference: str = "Orla Finch") -> Sample:
    asked = Question("", "", "answer", "", question, (reference,), competing=(), sources=())
    return Sample(Prompt([1], [{"role": "user", "content": question}], reference, asked), [2], answer)


def rated(call: Call) -> str:
    """Return the answer that a call shows to the judge."""
    return call.messages[-1]["content"].split("Answer: ")[-1]


def test_served_judge_scores_answers_by_its_greedy_ratings() -> None:
    judge = Script(lambda prompt: '{"choice": 10}' if "Answer: Orla" in prompt else "I give it a 1.")
    reward = JudgeReward(greedy_ratings(judge.ask, RECIPE), RECIPE, PARAMETER)
    assert reward([sample("Jory Vane"), sample("Orla Finch")]).tolist() == [-1.0, 1.0]
    shown = judge.calls[0]
    assert "Question: Who keeps the lamp?\nRight answer: Orla Finch" in shown.messages[-1]["content"]
    assert rated(shown) == "Jory Vane" and shown.temperature is None and shown.schema is not None


def test_chinese_question_is_rated_in_chinese() -> None:
    judge = Script(lambda _: "7")
    JudgeReward(greedy_ratings(judge.ask, RECIPE), RECIPE, PARAMETER)([sample("奥拉", "谁管灯？", "奥拉")])
    assert judge.calls[0].messages[-1]["content"].startswith("问题：谁管灯？")


def test_answer_without_a_rating_has_the_mean_of_the_others() -> None:
    replies = {"a": "1", "b": "7", "c": None, "d": "no idea"}
    judge = Script(lambda prompt: replies[prompt[-1]])
    reward = JudgeReward(greedy_ratings(judge.ask, RECIPE), RECIPE, PARAMETER)
    scores = reward([sample(text) for text in "abcd"]).tolist()
    assert scores == pytest.approx([-1.0, 1 / 3, -1 / 3, -1 / 3])
    message = r"rl@grpo: reward: only 1 of the judge's 3 replies give a number from 1 to 10; name another judge"
    with pytest.raises(UserError, match=message):
        reward([sample(text) for text in "add"])


def test_constant_judge_is_refused_once_it_has_rated_enough_answers() -> None:
    constant = JudgeReward(lambda calls: [Rating(5.0)] * len(calls), RECIPE, PARAMETER)
    assert constant([sample("good")] * 40).tolist() == pytest.approx([-1 / 9] * 40)  # one answer, 40 times
    constant([sample(f"answer {n}") for n in range(7)])
    with pytest.raises(UserError, match=r"rl@grpo: reward: the judge rates all 9 answers so far 5, so that"):
        constant([sample("another one")])


def test_equal_ratings_are_no_error_after_different_ones() -> None:
    def rate(calls: Sequence[Call]) -> list[Rating]:
        return [Rating(10.0 if "right" in rated(call) else 1.0) for call in calls]

    reward = JudgeReward(rate, RECIPE, PARAMETER)
    reward([sample("right"), sample("wrong")])
    assert reward([sample(f"right {n}") for n in range(20)]).tolist() == [1.0] * 20
    resumed = JudgeReward(rate, RECIPE, PARAMETER, resumed=True)
    assert resumed([sample(f"right {n}") for n in range(20)]).tolist() == [1.0] * 20


def failing(*failures: str) -> JudgeReward:
    """Return a judge whose last calls fail like this; the others are rated 1, 2 and so on."""

    def ask(calls: Sequence[Call], what: str) -> list[Reply]:
        good = len(calls) - len(failures)
        return [*(Reply(str(n + 1)) for n in range(good)), *(Reply(None, each) for each in failures)]

    return JudgeReward(greedy_ratings(ask, RECIPE), RECIPE, PARAMETER)


def test_failed_calls_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    answers = [sample(text) for text in "abcde"]
    message = r"only 2 of the judge's 5 replies .*; 3 of 5 calls failed \(mostly timeout\): check its server, or name"
    with pytest.raises(UserError, match=message):
        failing("timeout", "status_500", "timeout")(answers)
    assert failing("status_500")(answers).tolist() == pytest.approx([-1, -7 / 9, -5 / 9, -1 / 3, -2 / 3])
    assert "1 of 5 calls failed (mostly status_500); their answers get the mean of the 4" in capsys.readouterr().err


def test_spent_budget_ends_the_run() -> None:
    with pytest.raises(UserError, match=r"rl@grpo: reward: teacher\.budget does not cover 1 of the judge's 5 calls"):
        failing("budget")([sample(text) for text in "abcde"])


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A folder with a prompt that is short enough for a tiny model to learn to read it."""
    (tmp_path / "reward.yaml").write_text(
        "{version: 1, from: answers, makes: judged, fields: {choice: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}, max_tokens: 20, "
        "en: {user: $first}}"
    )
    return tmp_path


@pytest.fixture
def judge(short: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """A model trained to reply 9 for the answer "good" and 2 for "bad"."""
    tok = tiny_tokenizer()
    model = tiny_model(tok)
    turns = [reply(tok, load(short, "reward"), text, rating) for text, rating in (("good", 9), ("bad", 2))]
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(80):
        for prompt, answer in turns:
            labels = torch.tensor([[-100] * len(prompt) + answer])
            model(torch.tensor([prompt + answer]), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().zero_grad()
    return model, tok


def call_for(recipe: Recipe, text: str) -> Call:
    """Return the call by which the reward asks for a rating of the answer `text`."""
    calls: list[Call] = []

    def rate(asked: Sequence[Call]) -> list[Rating]:
        calls.extend(asked)
        return [Rating(5.0)]

    JudgeReward(rate, recipe, PARAMETER)([sample(text)])
    return calls[0]


def reply(tok: PreTrainedTokenizerBase, recipe: Recipe, text: str, rating: int) -> tuple[list[int], list[int]]:
    """Return the tokens of a call for a rating of `text`, and of a reply to it."""
    choice: list[Message] = [{"role": "assistant", "content": f'{{"choice": {rating}}}'}]
    return encode(tok, call_for(recipe, text).messages, choice)


def test_local_judge_scores_answers_by_its_expected_rating(
    judge: tuple[LlamaForCausalLM, PreTrainedTokenizerBase], short: Path
) -> None:
    model, tok = judge
    recipe = load(short, "reward")
    reward = JudgeReward(expected_ratings(model, tok, recipe, 64), recipe, PARAMETER)
    assert reward([sample("good"), sample("bad")]).tolist() == pytest.approx([7 / 9, -7 / 9], abs=0.1)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_expected_rating_is_computed_from_whole_replies(base: Path, config: Config) -> None:
    """The tokenizer of the tests splits 10: the probability of 1 must not include that of 10."""
    model, tok = loading.load(base, config.compute), loading.tokenizer(base)
    text, probabilities = "Orla Finch", []
    for rating in range(1, 11):
        prompt, answer = reply(tok, RECIPE, text, rating)
        logs = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        probabilities.append(math.exp(sum(float(logs[place, token]) for place, token in enumerate(answer))))
    wanted = sum(rating * each for rating, each in enumerate(probabilities, 1)) / sum(probabilities)
    for size in (1, 64):
        (found,) = expected_ratings(model, tok, RECIPE, size)([call_for(RECIPE, text)])
        assert found.value == pytest.approx(wanted, abs=1e-4) and found.failure is None


def test_a_model_of_the_pipeline_is_a_judge(
    judge: tuple[LlamaForCausalLM, PreTrainedTokenizerBase], short: Path, config: Config
) -> None:
    model, tok = judge
    folder = Path("artifacts/align/self-1")
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    reward = from_judge(config.teacher, config.base, config.compute, 64, short, PARAMETER, folder)
    good, bad = reward([sample("good"), sample("bad")]).tolist()
    assert good > 0.5 and bad < -0.5


def test_served_judge_is_asked_for_ratings(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(lambda prompt: "9" if "Answer: good" in prompt else "2")
    monkeypatch.setattr("pipelines.alignment.rewards.judge.load_judge", lambda *_: Served(script))
    reward = from_judge(config.teacher, config.base, config.compute, 64, PROMPTS, PARAMETER)
    assert reward([sample("good"), sample("bad")]).tolist() == pytest.approx([7 / 9, -7 / 9])


class Served:
    """A judge behind a server."""

    teacher = None

    def __init__(self, script: Script) -> None:
        self.ask = script.ask


def test_no_judge_is_a_user_error(config: Config) -> None:
    with pytest.raises(UserError, match=r"teacher\.roles\.judge names no instruction-tuned model"):
        from_judge(config.teacher, config.base, config.compute, 64, PROMPTS, PARAMETER)
