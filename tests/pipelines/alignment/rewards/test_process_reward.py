"""The process reward of online training: the worst step of an answer, by a saved process reward model."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.alignment.backbone import POLICY, Backbone, scalar_head, using
from pipelines.alignment.process.step_reward import step_scores
from pipelines.alignment.process.steps import Solution
from pipelines.alignment.reward_model import save_head
from pipelines.alignment.rewards.functions import WeightedReward, from_model
from pipelines.alignment.rewards.process import PROCESS, from_process_model
from pipelines.alignment.rl.samples import Sample
from pipelines.config import Config
from pipelines.models import saving
from pipelines.models.chat import encode_text
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from tests.conftest import tiny_model
from tests.pipelines.alignment.conftest import LORA
from tests.support.reinforcement import PROMPTS

pytestmark = pytest.mark.slow


def test_reward_is_the_probability_of_the_worst_step(backbone: Backbone, tmp_path: Path) -> None:
    head = scalar_head(backbone.model)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(4))
    saving.save_adapter(backbone.model, backbone.tok, tmp_path)
    save_head(head, tmp_path)
    texts = ["1+1=2\n2+2=4\nAnswer: 4", "Answer: 3", "4+4=9\nAnswer: 9"]
    ids = [[*encode_text(backbone.tok, text), backbone.tok.eos_token_id] for text in texts]
    samples = [Sample(prompt, each, text) for prompt, each, text in zip(PROMPTS, ids, texts, strict=False)]
    with using(backbone.model, POLICY):
        steps = step_scores(backbone, head, [Solution.of(backbone.tok, each.turn) for each in samples], 2)
    assert list(map(len, steps)) == [3, 1, 2]

    reward = from_process_model(backbone, tmp_path, microbatch=2)
    trainable = [value.requires_grad for value in backbone.model.parameters()]
    scores = reward(samples)
    assert scores.tolist() == pytest.approx([math.exp(min(each)) for each in steps], abs=1e-5)
    assert ((scores >= 0) & (scores <= 1)).all() and not scores.requires_grad
    assert backbone.model.active_adapter == POLICY
    assert [value.requires_grad for value in backbone.model.parameters()] == trainable
    weighted = WeightedReward({PROCESS: (0.5, reward)}, "rl@grpo: reward", torch.device("cpu"))
    torch.testing.assert_close(weighted(samples), 0.5 * scores)


@pytest.mark.parametrize("make", [from_process_model, from_model])
def test_reward_model_of_another_model_or_method_is_refused(
    backbone: Backbone, config: Config, tmp_path: Path, make: Callable[[Backbone, Path, int], object]
) -> None:
    other = tiny_model(backbone.tok)
    with torch.no_grad():
        other.get_input_embeddings().weight.mul_(1.7)
    other.save_pretrained(tmp_path / "other")
    backbone.tok.save_pretrained(tmp_path / "other")
    cases = [
        (tmp_path / "other", LORA, r"adapts .*/other, and the policy adapts artifacts/base: train the reward model on"),
        (
            Path("artifacts/base"),
            TuningConfig(method="ia3", options={}),
            r"of the method IA3, and the policy's is",
        ),
    ]
    for number, (below, tuning, message) in enumerate(cases):
        model, folder = preparation.peft_adaptable(below, tuning, config.compute), tmp_path / f"reward{number}"
        saving.save_adapter(model, backbone.tok, folder)
        save_head(scalar_head(model), folder)
        with pytest.raises(UserError, match=message):
            make(backbone, folder, 2)
    with pytest.raises(UserError, match="adapts no other model, and the policy adapts"):
        make(backbone, Path("artifacts/base"), 2)


def test_folder_without_a_head_is_a_user_error(backbone: Backbone, tmp_path: Path) -> None:
    saving.save_adapter(backbone.model, backbone.tok, tmp_path)
    with pytest.raises(UserError, match="no reward head for this model"):
        from_process_model(backbone, tmp_path, microbatch=2)
