"""PPO, GRPO, RLOO and Dr. GRPO reach 95% of the optimum of a reward on a tiny model."""

from collections.abc import Sequence

import pytest
import torch

from pipelines.alignment.backbone import Backbone
from pipelines.alignment.rl.grpo import GRPO
from pipelines.alignment.rl.ppo import PPO
from pipelines.alignment.rl.samples import Sample
from pipelines.alignment.rl.trainer import Trainer
from pipelines.config import Config
from pipelines.training.checkpoints import Checkpoints
from tests.support.recorder import Recorder
from tests.support.reinforcement import PROMPTS, actors, sharpen

pytestmark = pytest.mark.slow


def new_token(samples: Sequence[Sample]) -> torch.Tensor:
    """Score 1 an answer that does not begin with the last token of its prompt, else 0."""
    return torch.tensor([float(sample.response[0] != sample.prompt.ids[-1]) for sample in samples])


@torch.no_grad()
def expected(backbone: Backbone) -> float:
    """Return the expected reward of the policy."""
    repeats = [
        backbone.model(torch.tensor([each.ids])).logits[0, -1].softmax(-1)[each.ids[-1]].item() for each in PROMPTS
    ]
    return 1 - sum(repeats) / len(repeats)


def build(backbone: Backbone, config: Config, method: str, seed: int) -> Trainer:
    """Return a trainer of 6 rounds with 32 answers of one token each."""
    ppo, grpo = config.rl.ppo, config.rl.grpo
    changes: dict[str, object] = {"iterations": 6, "minibatch": 32, "microbatch": 32, "epochs": 2, "max_new_tokens": 1}
    changes |= {"temperature": 1.0, "learning_rate": 2e-2, "kl_coefficient": 0.0, "missing_eos_penalty": 0.0}
    changes["health"] = grpo.health.model_copy(update={"max_kl": 1e6, "min_entropy": 0.0})
    if method == "ppo":
        block = ppo.model_copy(update={**changes, "critic_learning_rate": 1e-2, "critic_warmup": 0})
        return PPO(actors(backbone, block, new_token), block, seed)
    group = grpo.model_copy(update={**changes, "prompts": 4, "samples": 8, "advantages": method})
    return GRPO(actors(backbone, group, new_token), group, seed)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("method", ["ppo", "grpo", "rloo", "dr_grpo"])
def test_policy_reaches_the_optimum(backbone: Backbone, config: Config, method: str, seed: int) -> None:
    sharpen(backbone, 6)
    assert 0.3 < expected(backbone) < 0.5
    torch.manual_seed(seed)
    trainer = build(backbone, config, method, seed)
    history = trainer.train(PROMPTS, PROMPTS * 8, Recorder(), Checkpoints())
    assert expected(backbone) > 0.95
    assert trainer.stop is None and history[0]["kl"] == 0.0 < history[-1]["held_out_kl"]
    assert history[trainer.best.number]["held_out_reward"] == max(each["held_out_reward"] for each in history)
