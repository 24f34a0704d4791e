"""The process reward model: which positions are learnt, aggregates, and a planted wrong step that is told apart."""

import math

import pytest
import torch

from pipelines.alignment.backbone import POLICY, Backbone, named_weights, scalar_head, train_only
from pipelines.alignment.process.rollouts import Labelled
from pipelines.alignment.process.step_reward import (
    AGGREGATES,
    StepCrossEntropy,
    StepExample,
    outcome_examples,
    process_examples,
    step_logits,
    step_scores,
    train,
)
from pipelines.alignment.process.steps import Solution
from pipelines.config import Config
from pipelines.models.chat import encode_prompt, encode_text
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.step import Job
from tests.support.recorder import Recorder
from tests.support.trainings import training

pytestmark = pytest.mark.slow


def solution(backbone: Backbone, text: str, question: str = "How many?") -> Solution:
    prompt = encode_prompt(backbone.tok, [{"role": "user", "content": question}])
    return Solution.of(backbone.tok, (prompt, [*encode_text(backbone.tok, text), backbone.tok.eos_token_id]))


@pytest.fixture
def head(backbone: Backbone) -> torch.nn.Linear:
    train_only(backbone.model, [POLICY])
    head = scalar_head(backbone.model)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(1))
    return head


def test_only_the_last_token_of_each_step_is_scored(backbone: Backbone, head: torch.nn.Linear) -> None:
    long, short = solution(backbone, "1+1=2\n2+5=7\nAnswer: 7"), solution(backbone, "Answer: 3")
    states: list[torch.Tensor] = []
    head.register_forward_pre_hook(lambda _, given: states.append(given[0]))
    loss = StepCrossEntropy(backbone, head, [StepExample(long, [1.0, 0.0, 0.5]), StepExample(short, [1.0])])
    found = loss(backbone.model, [0, 1])
    assert found.weight == 4 and states[0].shape[0] == 4
    logits = step_logits(backbone, head, [long, short])
    targets = torch.tensor([1.0, 0.0, 0.5, 1.0])
    by_hand = -(targets * logits.sigmoid().log() + (1 - targets) * (1 - logits.sigmoid()).log()).sum()
    torch.testing.assert_close(found.total, by_hand)
    alone = [step_logits(backbone, head, [each]) for each in (long, short)]
    torch.testing.assert_close(torch.cat(alone), logits, atol=1e-5, rtol=1e-4)
    for step in range(3):  # a score depends on no token after its step
        cut = Solution(long.prompt, long.prefix(step), long.ends[: step + 1])
        torch.testing.assert_close(step_logits(backbone, head, [cut])[step], logits[step], atol=1e-5, rtol=1e-4)


def test_outcome_and_process_examples_differ_in_labels_only(backbone: Backbone) -> None:
    given = solution(backbone, "1+1=3\nAnswer: 3")
    labelled = [Labelled(given, [1, 0], 4, False, "", None), Labelled(given, [], 4, True, "", "duplicate")]
    (process,), (outcome,) = process_examples(labelled, soft=True), outcome_examples(labelled)
    assert process == StepExample(given, [0.25, 0.0])
    assert outcome == StepExample(Solution(given.prompt, given.response, given.ends[1:]), [0.0])


def test_a_solution_is_as_good_as_its_worst_step() -> None:
    scores = [math.log(0.9), math.log(0.2), math.log(0.8)]
    found = {name: math.exp(aggregate(scores)) for name, aggregate in AGGREGATES.items()}
    assert found == pytest.approx({"min": 0.2, "product": 0.144, "last": 0.8})


def job(config: Config, epochs: int) -> Job:
    return Job("reward", 5e-3, epochs, training(), config.compute, Recorder(), Checkpoints())


def test_a_planted_wrong_step_is_told_apart(backbone: Backbone, head: torch.nn.Linear, config: Config) -> None:
    """The wrong step is in the middle, and all last lines are equal, so that only the minimum shows it."""
    torch.nn.init.zeros_(head.weight)
    examples = [
        StepExample(solution(backbone, f"{n}+1={n + 1}\n{step}\nAnswer: 7"), [1.0, label, 1.0])
        for n in range(6)
        for step, label in (("take two", 1.0), ("lose it", 0.0))
    ]
    before = {name: value.clone() for name, value in backbone.model.named_parameters()}
    train(backbone, head, examples, 400, job(config, 12))
    trained = named_weights(backbone.model, POLICY)
    assert all(torch.equal(value, before[n]) == (n not in trained) for n, value in backbone.model.named_parameters())
    asked = [solution(backbone, f"8+1=9\n{step}\nAnswer: 7") for step in ("take two", "lose it")]
    right, wrong = step_scores(backbone, head, asked, 1)
    assert math.exp(min(right)) > 0.8 and math.exp(wrong[1]) < 0.2 and math.exp(wrong[2]) > 0.8
    assert step_scores(backbone, head, asked[::-1], 2)[1] == pytest.approx(right, abs=1e-4)


def test_equal_labels_are_refused(backbone: Backbone, head: torch.nn.Linear, config: Config) -> None:
    examples = [StepExample(solution(backbone, "Answer: 3"), [0.0])] * 2
    with pytest.raises(UserError, match=r"all 2 labelled solutions have the label 0\.0, .*sample more solutions"):
        train(backbone, head, examples, 400, job(config, 1))
    with pytest.raises(UserError, match="all 0 labelled solutions have the label none"):
        train(backbone, head, [], 400, job(config, 1))
