"""Device memory of a round of PPO or GRPO, estimated from a model's configuration before any weights are loaded.

A round peaks in its rollout, with the keys and values of all answers, or in an optimiser step, with the activations of
one micro-batch. Both have the frozen weights, all adapters and the optimisers' states besides.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.cache_utils import CacheLayerMixin, LinearAttentionCacheLayerMixin

from pipelines.alignment.rl.config import PPOBlock, RLBlock
from pipelines.models import devices, memory
from pipelines.models.config import BaseModelConfig, ComputeConfig, Quantization
from pipelines.models.memory import GIB, MASTER, OPTIMIZERS, Estimate, Traced, Training
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.training.config import TrainingConfig

PREFILL = 5
"""Tensors of the size of the largest one that a layer holds without gradients (measured on a gated MLP): the gate, the
output of a projection, and that of its adapter, before and after it is scaled and added."""


@dataclass(frozen=True)
class RoundEstimate:
    """Bytes of each part at the peak of a round. `str` gives a table."""

    step: Estimate
    """One optimiser step of one adapter."""
    adapters: int
    """The other adapters, the optimiser states of the critic, and the copy of the best round's policy."""
    cache: int
    """Keys and values of the rollout."""
    prefill: int
    """Largest tensors of a layer while the prompts of the rollout are read."""

    @property
    def update(self) -> int:
        """Return the bytes at the peak of the update."""
        return self.step.total + self.adapters

    @property
    def rollout(self) -> int:
        """Return the bytes at the peak of the rollout, in which no gradient and no activation is held."""
        step = self.step
        held = step.weights + step.unquantized + step.trainable + step.optimizer + step.dequantization + self.adapters
        fleeting = self.cache + self.prefill
        return held + fleeting + memory.WORKSPACES + int(memory.FRAGMENTATION * fleeting)

    @property
    def total(self) -> int:
        """Return the bytes at the peak of the round."""
        return max(self.update, self.rollout)

    def __str__(self) -> str:
        """Return the parts in GiB, of the optimiser step first."""
        rows = [
            ("adapters and states besides", self.adapters),
            ("rollout: keys and values", self.cache),
            ("rollout: reading of the prompts", self.prefill),
            ("peak of the update", self.update),
            ("peak of the rollout", self.rollout),
        ]
        return "\n".join([str(self.step), *(f"{label:<36}{size / GIB:8.2f} GiB" for label, size in rows)])


def check(
    what: str,
    start: Path,
    prompt: int,
    block: RLBlock,
    tuning: TuningConfig,
    training: TrainingConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
) -> bool:
    """Print the memory of a round on the whole model in `start`, whose prompts have at most `prompt` tokens.

    Returns whether layers are recomputed. With `training.checkpointing: auto` they are on a GPU, if memory is too small
    without, or is not known: a judge in this process is not part of the estimate. Never with virtual tokens, whose
    caches would be filled twice.

    Raises:
        UserError: the device has less memory.
    """
    where, config = devices.device(compute), AutoConfig.from_pretrained(start)
    may_recompute = training.checkpointing == "auto" and where.type == "cuda" and not tuning.virtual
    recompute = training.checkpointing == "on" and not tuning.virtual
    attention: Literal["sdpa", "eager"] = "eager" if where.type == "cpu" else "sdpa"
    one = micro_batch(block, prompt, tuning, base.quantization, devices.dtype(compute), recompute, attention)
    traced = memory.trace(config, one)
    if traced is None:
        say(f"{what}: the memory of this architecture and method cannot be estimated")
        return recompute or may_recompute
    needed, free = estimate(config, traced, one, block), devices.available(where)
    if may_recompute and (needed.total > free or "judge" in block.reward):
        one = replace(one, checkpointing=True)
        needed = estimate(config, traced, one, block)
    how = ", with activation checkpointing" if one.checkpointing else ""
    say(f"{what}: estimated memory of a round{how}\n{needed}")
    if needed.total > free:
        lower = "microbatch" if needed.update > needed.rollout else "prompts or samples"
        raise UserError(
            f"{what} needs an estimated {needed.total / GIB:.1f} GiB of memory, and {where} has {free / GIB:.1f} GiB "
            f"free; lower its {lower}, or max_new_tokens."
        )
    return one.checkpointing


def micro_batch(
    block: RLBlock,
    prompt: int,
    tuning: TuningConfig,
    quantization: Quantization,
    dtype: torch.dtype,
    checkpointing: bool = False,
    attention: Literal["sdpa", "eager"] = "sdpa",
) -> Training:
    """Return the training of one micro-batch of `block`, whose prompts have at most `prompt` tokens."""
    return Training(
        tuning,
        quantization,
        dtype,
        rows=block.microbatch,
        length=prompt + block.max_new_tokens,
        predicted=block.microbatch * block.max_new_tokens,
        checkpointing=checkpointing,
        attention=attention,
    )


def estimate(config: PreTrainedConfig, traced: Traced, training: Training, block: RLBlock) -> RoundEstimate:
    """Return the memory of a round of `block`, whose `micro_batch` is `training`.

    PPO trains policy and critic, GRPO the policy. The reference and, if it is among the rewards, the reward model have
    an adapter each. Only one adapter has gradients at a time, and a prompt is read once for all of its answers.
    """
    trained = 2 if isinstance(block, PPOBlock) else 1
    besides = trained + ("model" in block.reward)  # trained - 1, the reference, the reward model
    states = int(OPTIMIZERS["adamw"]) * (trained - 1)
    answers, prompt = block.prompts * block.samples, training.length - block.max_new_tokens
    return RoundEstimate(
        step=memory.estimate(traced, training),
        adapters=traced.trainable * (MASTER * (besides + 1) + states),
        cache=answers * cache_bytes(config, training.dtype, training.length),
        prefill=PREFILL * traced.largest_saved * block.prompts * prompt // training.length,
    )


def cache_bytes(config: PreTrainedConfig, dtype: torch.dtype, tokens: int) -> int:
    """Return the bytes of the cache of one row of `tokens` tokens: keys and values, and states of linear attention."""
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
        found = model.get_decoder()(input_ids=torch.zeros(1, 1, dtype=torch.long), use_cache=True)
    layers = found.past_key_values.layers
    each = sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in layers if isinstance(layer, CacheLayerMixin))
    states = [
        state
        for layer in layers
        if isinstance(layer, LinearAttentionCacheLayerMixin)
        for state in (*layer.conv_states.values(), *layer.recurrent_states.values())
        if state is not None
    ]
    return tokens * each + sum(int(state.nbytes) for state in states)
