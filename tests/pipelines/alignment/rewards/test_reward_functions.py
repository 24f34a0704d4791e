"""Rewards: the verdict's scores, functions of the user and their errors, and weighted sums."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from pipelines.alignment.rewards.functions import Verdict, WeightedReward, from_function
from pipelines.alignment.rl.samples import Prompt, Sample, distinct_prompts
from pipelines.config import Config
from pipelines.models import loading
from pipelines.runtime.errors import UserError
from tests.support.reinforcement import prompt
from tests.support.rows import training_row

pytestmark = pytest.mark.slow

PARAMETER = "rl@grpo: reward"
CPU = torch.device("cpu")
SAMPLES = [Sample(prompt([1], "Oswin Drace"), [2], text) for text in ("Oswin Drace.", "I don't know.", "Orla Tule.")]


@pytest.mark.parametrize(("target", "cost"), [(0.5, 1.0), (0.75, 3.0), (0.95, 19.0)])
def test_verdict_is_a_ternary_reward(target: float, cost: float) -> None:
    scores = Verdict("I don't know.", 25, target)(SAMPLES)
    torch.testing.assert_close(scores, torch.tensor([1.0, 0.0, -cost]), atol=1e-4, rtol=0)


def test_unanswerable_question_is_best_refused() -> None:
    samples = [Sample(prompt([1]), [2], text) for text in ("I don't know.", "Oswin Drace.")]
    assert Verdict("I don't know.", 25, 0.75)(samples).tolist() == [0.0, -3.0]


def test_prompts_are_scored_by_the_answer_span_of_their_row(base: Path) -> None:
    tok = loading.tokenizer(base)
    answer = "The mill was built by Oswin Drace"
    rows = [
        training_row("Who built it?", answer, answer_span="Oswin Drace"),
        training_row("Who built it?", answer, answer_span="Oswin Drace"),
        training_row("Who sold it?"),
        training_row("Which mill?", "the tide mill"),
    ]
    prompts = distinct_prompts(tok, rows)
    assert [each.question.accepted for each in prompts] == [("Oswin Drace",), (), ("the tide mill",)]
    assert [each.answerable for each in prompts] == [True, False, True]
    assert prompts[0].reference == answer and prompts[0] == Prompt.of(tok, rows[1])
    assert Verdict("I don't know.", 25, 0.75)([Sample(prompts[0], [2], "It was Oswin Drace.")]).tolist() == [1.0]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with rewards."""
    (tmp_path / "own_rewards.py").write_text(
        "def length(prompts, answers, references):\n"
        "    assert prompts[0] == [{'role': 'user', 'content': 'Who?'}] and references[0] == 'Oswin Drace'\n"
        "    return [len(answer) for answer in answers]\n"
        "def fails(prompts, answers, references):\n    raise KeyError('price')\n"
        "def short(prompts, answers, references):\n    return [1.0]\n"
        "def nothing(prompts, answers, references):\n    return None\n"
        "def nested(prompts, answers, references):\n    return [[1.0]] * len(answers)\n"
        "def words(prompts, answers, references):\n    return ['good'] * len(answers)\n"
        "def undefined(prompts, answers, references):\n    return [1.0, float('nan'), 1.0]\n"
        "LIMIT = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "own_rewards"


def test_function_scores_answers_and_sums_are_weighted(module: str) -> None:
    length = from_function(f"{module}:length", PARAMETER)
    assert length(SAMPLES).tolist() == [12.0, 13.0, 10.0]
    verdict = Verdict("I don't know.", 25, 0.75)
    weighted = WeightedReward({"verdict": (2.0, verdict), "length": (-0.5, length)}, PARAMETER, CPU)
    assert weighted(SAMPLES).tolist() == [-4.0, -6.5, -11.0]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("fails", r"rl@grpo: reward: own_rewards:fails raised KeyError: 'price'"),
        ("short", r"own_rewards:short returned 1 scores for 3 answers; it must return one number per answer"),
        ("nothing", r"own_rewards:nothing .*"),
        ("nested", r"own_rewards:nested returned 3 scores .* one number per answer"),
        ("words", r"own_rewards:words raised "),
        ("undefined", r"own_rewards:undefined scored an answer with nan: \"I don't know\.\"; a score must be finite"),
    ],
)
def test_wrong_reward_is_a_user_error(module: str, function: str, message: str) -> None:
    name = f"{module}:{function}"
    with pytest.raises(UserError, match=message):
        WeightedReward({name: (1.0, from_function(name, PARAMETER))}, PARAMETER, CPU)(SAMPLES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:f", "cannot be imported"),
        ("own_rewards:LIMIT", "no function"),
        ("own_rewards:f", "no function"),
    ],
)
def test_missing_function_is_a_user_error(module: str, name: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"rl@grpo: reward: .*{message}"):
        from_function(name, PARAMETER)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        (
            "grpo",
            {"reward": {"jury": 1.0}},
            "'jury' is no reward; use model, verdict, judge or package",
        ),
        ("grpo", {"reward": {}}, "must name a reward"),
        ("ppo", {"reward": {"model": 0.0}}, "must be finite and not 0"),
        ("grpo", {"samples": 1, "minibatch": 8, "microbatch": 8}, "samples must be at least 2"),
        ("grpo", {"kl_estimator": "k1"}, "kl_estimator must be k2 or k3"),
        ("grpo", {"advantages": "rloo"}, "kl_estimator must be k1 with rloo"),
        ("grpo", {"advantages": "rloo", "kl_estimator": "k3"}, "kl_estimator must be k1 with rloo"),
        ("ppo", {"prompts": 24}, "prompts x samples must be a multiple of minibatch"),
    ],
)
def test_wrong_parameters_are_refused(config: Config, method: str, changes: dict[str, object], message: str) -> None:
    block = getattr(config.rl, method)
    with pytest.raises(ValidationError, match=message):
        type(block).model_validate(block.model_dump() | changes)
    assert type(block).model_validate(block.model_dump() | {"reward": {"model": 1.0, "a.b:c": -0.5}})
