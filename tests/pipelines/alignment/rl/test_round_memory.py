"""The memory estimate of a round against measured peaks, and against the adapters and caches that exist."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, LlamaForCausalLM

from pipelines.alignment.backbone import POLICY, REFERENCE, VALUE, Backbone, clone, named_weights, train_only
from pipelines.alignment.rewards.functions import Verdict
from pipelines.alignment.rl import memory
from pipelines.alignment.rl.config import GRPOBlock, PPOBlock, RLBlock
from pipelines.alignment.rl.grpo import GRPO
from pipelines.alignment.rl.ppo import PPO
from pipelines.alignment.rl.rollout import Sampler
from pipelines.alignment.rl.trainer import Actors, Trainer
from pipelines.config import Config
from pipelines.models.memory import trace
from pipelines.models.tuning.apply import apply
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from tests.conftest import tiny_tokenizer
from tests.support.model_shapes import MEDIUM, SHAPES, peak
from tests.support.reinforcement import even, prompt
from tests.support.trainings import COMPUTE

pytestmark = pytest.mark.slow

LORA = TuningConfig(method="lora", options={"r": 16, "lora_alpha": 32})
PROMPTS = [prompt([3 + (number + 7 * place) % 500 for place in range(48)]) for number in range(8)]
SIZES = {"prompts": 8, "samples": 1, "minibatch": 8, "microbatch": 4, "max_new_tokens": 32, "reward": {"verdict": 1.0}}


def online(block: RLBlock) -> Trainer:
    """Return a trainer of a medium Llama whose answers have the greatest length, after one round."""
    torch.manual_seed(0)
    model = apply(LlamaForCausalLM._from_config(MEDIUM, dtype=torch.float32, attn_implementation="sdpa"), LORA)
    backbone = Backbone(model, tiny_tokenizer(), COMPUTE)
    sampler = Sampler(backbone, [], block.max_new_tokens, 1.0, block.prompts * block.samples)
    actors = Actors(backbone, sampler, even, Verdict("I don't know.", 25, 0.75))
    clone(backbone.model, POLICY, REFERENCE)
    if isinstance(block, PPOBlock):
        clone(backbone.model, POLICY, VALUE)
        train_only(backbone.model, [POLICY, VALUE])
        trainer: Trainer = PPO(actors, block, seed=1)
    else:
        assert isinstance(block, GRPOBlock)
        train_only(backbone.model, [POLICY])
        trainer = GRPO(actors, block, seed=1)
    trainer.round(PROMPTS[: block.prompts], 0)
    return trainer


def estimated(block: RLBlock) -> memory.RoundEstimate:
    training = memory.micro_batch(block, len(PROMPTS[0].ids), LORA, "none", torch.float32)
    traced = trace(MEDIUM, training)
    assert traced is not None
    return memory.estimate(MEDIUM, traced, training, block)


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_peaks_of_rollout_and_update_are_estimated(config: Config, method: str) -> None:
    small = SIZES | ({"prompts": 4, "samples": 2} if method == "grpo" else {"critic_warmup": 0})
    block: RLBlock = getattr(config.rl, method).model_copy(update=small)
    trainer, expected = online(block), estimated(block)
    prompts = [each for each in PROMPTS[: block.prompts] for _ in range(block.samples)]
    samples = trainer.answer(prompts)
    rollouts = trainer.collect(samples)
    update = peak(lambda: trainer.update(rollouts, 0))
    step = expected.step
    assert 0.95 < (step.activations + step.backward + step.gradients) / update < 1.25
    assert 0.95 < (expected.cache + expected.prefill) / peak(lambda: trainer.answer(prompts)) < 1.25
    assert expected.total == max(expected.update, expected.rollout)


def test_adapters_are_counted_with_their_states_and_the_copy_of_the_best(config: Config) -> None:
    ppo = config.rl.ppo.model_copy(update=SIZES)
    trainer = online(ppo)
    trainer.best.offer([{"held_out_reward": 1.0}], trainer.policy_weights)
    sizes = {
        name: sum(each.nbytes for each in named_weights(trainer.backbone.model, name).values())
        for name in (POLICY, REFERENCE, VALUE)
    }
    best, states = (sum(each.nbytes for each in trainer.best.weights.values()), 2 * sizes[VALUE])
    assert estimated(ppo).adapters == sizes[REFERENCE] + sizes[VALUE] + best + states
    rewarded = estimated(ppo.model_copy(update={"reward": {"model": 1.0}}))
    assert rewarded.adapters - estimated(ppo).adapters == sizes[POLICY]


def test_keys_and_values_of_8b_models() -> None:
    bytes_each = {name: memory.cache_bytes(SHAPES[name](), torch.bfloat16, 1) for name in SHAPES if "8B" in name}
    assert bytes_each == {
        "Qwen/Qwen3-8B": 36 * 8 * 128 * 2 * 2,
        "meta-llama/Llama-3.1-8B-Instruct": 32 * 8 * 128 * 2 * 2,
    }


def test_the_table_names_every_part(config: Config) -> None:
    text = str(estimated(config.rl.ppo.model_copy(update=SIZES)))
    assert all(part in text for part in ("frozen weights", "rollout: keys and values", "peak of the update"))


def test_a_round_that_does_not_fit_is_refused_before_weights_are_loaded(
    base: Path, config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = (config.sft.tuning, config.training, config.compute, config.base)
    for path in base.glob("*.safetensors"):
        path.unlink()
    memory.check("rl@ppo", base, 64, config.rl.ppo, *common)
    assert "rl@ppo: estimated memory of a round" in capsys.readouterr().err
    monkeypatch.setattr("pipelines.models.devices.available", lambda _: 2**20)
    with pytest.raises(UserError, match=r"rl@ppo needs an estimated .* GiB of memory, .*; lower its"):
        memory.check("rl@ppo", base, 64, config.rl.ppo, *common)


def test_layers_are_recomputed_on_a_gpu_only_if_the_round_does_not_fit_or_is_not_known(
    base: Path, config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"prompts": 1, "samples": 1, "microbatch": 64, "max_new_tokens": 32, "reward": {"verdict": 1.0}}
    block, gpu = config.rl.ppo.model_copy(update=small), torch.device("cuda")
    sizes = memory.micro_batch(block, 64, LORA, "none", torch.float32)
    shape, training = AutoConfig.from_pretrained(base), config.training
    traced = trace(shape, sizes)
    assert traced is not None
    needed = memory.estimate(shape, traced, sizes, block).total
    compute = config.compute.model_copy(update={"precision": "fp32"})
    prefix = TuningConfig(method="prefix_tuning", options={"num_virtual_tokens": 2})
    monkeypatch.setattr("pipelines.models.devices.device", lambda _: gpu)

    def recomputed(free: int, mode: str = "auto", block: RLBlock = block, tuning: TuningConfig = LORA) -> bool:
        monkeypatch.setattr("pipelines.models.devices.available", lambda _: free)
        changed = training.model_copy(update={"checkpointing": mode})
        return memory.check("rl@ppo", base, 64, block, tuning, changed, compute, config.base)

    assert not recomputed(needed)
    assert "checkpointing" not in capsys.readouterr().err
    assert recomputed(needed - 1)
    assert "estimated memory of a round, with activation checkpointing" in capsys.readouterr().err
    assert recomputed(needed, "on")
    assert recomputed(needed, block=block.model_copy(update={"reward": {"judge": 1.0}}))
    assert not recomputed(needed, "on", tuning=prefix)
    with pytest.raises(UserError, match="lower its microbatch"):
        recomputed(needed - 1, "off")
    gpu = torch.device("cpu")
    with pytest.raises(UserError, match="lower its microbatch"):
        recomputed(needed - 1)
