"""PPO with four models in memory (Ouyang et al. 2022, arXiv:2203.02155), the baseline of benchmarks/alignment.py.

Policy, reference, reward model and critic are copies of the whole model. The forward passes are transformers' own: the
policy answers with `generate`, and the output layer computes the logits of all tokens. The algorithm is that of
pipelines/alignment/rl, with its micro-batches in the same order, so that equal weights give equal losses.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.alignment_trial import timed
from pipelines.alignment import losses
from pipelines.alignment.reward_model import HEAD
from pipelines.alignment.rl.advantages import gae, whiten
from pipelines.alignment.rl.rewards import ScoreNorm, shape_scores, token_rewards
from pipelines.alignment.rl.steps import adam, backward, step
from pipelines.alignment.sequences import Batch, Turn, by_length, collate
from pipelines.config import Config
from pipelines.models import adapters, devices, loading
from pipelines.models.config import ComputeConfig


@dataclass(frozen=True)
class Rollouts:
    """One micro-batch of answers before the update; [B, T]."""

    batch: Batch
    old: Tensor
    """Log-probabilities of the policy."""
    values: Tensor
    returns: Tensor
    advantages: Tensor


class FourModels:
    """PPO with a whole model per role. Reference and reward model are merged and frozen.

    All weights of policy and critic are trained if they are `whole`, else an adapter of each on weights of its own.
    """

    def __init__(self, policy: Path, reward: Path, value_head: nn.Linear, settings: Config, whole: bool) -> None:
        """Load the models from the folders of the two adapters; the critic starts from the reward model."""
        self.block, self.compute = settings.rl.ppo, settings.compute
        self.tok, self.random = loading.tokenizer(policy), random.Random(settings.compute.seed)
        self.reference, self.reward = (loading.load(each, self.compute) for each in (policy, reward))
        load = _trainable if whole else _adapted
        self.policy, self.critic = (load(each, self.compute) for each in (policy, reward))
        self.heads = {"value": value_head, "reward": nn.Linear(value_head.in_features, 1).to(self.policy.device)}
        self.heads["reward"].load_state_dict(load_file(reward / HEAD))
        self.heads["reward"].requires_grad_(False)
        self.optimizers = [adam(_trained(self.policy)), adam(_trained(self.critic, value_head))]
        rates = (self.block.learning_rate, self.block.critic_learning_rate)
        for optimizer, rate in zip(self.optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate
        self.norm: ScoreNorm | None = None
        self.seconds: dict[str, float] = {}

    def round(self, prompts: Sequence[list[int]], turns: Sequence[Turn]) -> dict[str, list[float]]:
        """Answer `prompts`; score and learn from `turns`, which have as many tokens. Return the losses by step."""
        _, self.seconds["rollout"] = timed(lambda: self.answer(prompts))
        rollouts, self.seconds["scoring"] = timed(lambda: self.score(turns))
        found, self.seconds["update"] = timed(lambda: self.update(rollouts))
        return found

    def answer(self, prompts: Sequence[list[int]]) -> list[list[int]]:
        """Sample an answer of the greatest length to each prompt, in one batch."""
        padded = self.tok.pad({"input_ids": list(prompts)}, return_tensors="pt").to(self.policy.device)
        length = self.block.max_new_tokens
        with torch.no_grad(), devices.autocast(self.compute, self.policy.device):
            found = self.policy.generate(
                **padded,
                do_sample=True,
                temperature=self.block.temperature,
                top_k=0,
                top_p=1.0,
                max_new_tokens=length,
                min_new_tokens=length,
                pad_token_id=self.tok.pad_token_id,
            )
        answers: list[list[int]] = found[:, padded["input_ids"].shape[1] :].tolist()
        return answers

    @torch.no_grad()
    def score(self, turns: Sequence[Turn]) -> list[Rollouts]:
        """Evaluate `turns` with all four models, and compute their advantages."""
        device = self.policy.device
        rows = by_length(turns, self.block.microbatch)
        batches = [collate([turns[row] for row in part], self.tok.pad_token_id, device) for part in rows]
        old = [self.logprobs(self.policy, batch) for batch in batches]
        divergences = [
            before - self.logprobs(self.reference, batch) for before, batch in zip(old, batches, strict=True)
        ]
        values = [self.values(batch) for batch in batches]
        scores = [self.scores(batch) for batch in batches]
        if self.norm is None:
            self.norm = ScoreNorm.of(torch.cat(scores))
        found = []
        for batch, divergence, value, score in zip(batches, divergences, values, scores, strict=True):
            unended = torch.zeros(len(score), dtype=torch.bool, device=device)
            shaped = shape_scores(self.norm(score), unended, self.block.missing_eos_penalty, self.block.score_clip)
            rewards = token_rewards(shaped, divergence, batch.last, self.block.kl_coefficient, batch.mask)
            found.append(gae(rewards, value, batch.mask, self.block.gamma, self.block.gae_lambda))
        masks = [batch.mask for batch in batches]
        every = torch.cat([advantages[mask] for (advantages, _), mask in zip(found, masks, strict=True)])
        parts = whiten(every, torch.ones_like(every, dtype=torch.bool)).split([int(mask.sum()) for mask in masks])
        advantages = [
            torch.zeros(mask.shape, device=device).masked_scatter(mask, part)
            for mask, part in zip(masks, parts, strict=True)
        ]
        returns = [each for _, each in found]
        return [Rollouts(*each) for each in zip(batches, old, values, returns, advantages, strict=True)]

    def update(self, rollouts: Sequence[Rollouts]) -> dict[str, list[float]]:
        """Run the optimiser steps of a round; return the losses of policy and critic by step."""
        size = self.block.minibatch // self.block.microbatch
        found: dict[str, list[float]] = {"policy_loss": [], "value_loss": []}
        for _ in range(self.block.epochs):
            order = self.random.sample(range(len(rollouts)), len(rollouts))
            for start in range(0, len(order), size):
                group = [rollouts[index] for index in order[start : start + size]]
                tokens = sum(int(each.batch.mask.sum()) for each in group)
                found["policy_loss"].append(sum(self.policy_backward(each, tokens) for each in group))
                step(self.optimizers[0], self.policy.parameters())
                found["value_loss"].append(sum(self.critic_backward(each, tokens) for each in group))
                step(self.optimizers[1], self.critic.parameters())
        return found

    def policy_backward(self, each: Rollouts, tokens: int) -> float:
        """Add the gradients of a micro-batch to those of a step over `tokens`; return its part of the loss."""
        clip, new = self.block.clip, self.logprobs(self.policy, each.batch)
        found = losses.policy_loss(new, each.old, each.advantages, clip, clip, self.block.dual_clip)
        return backward(losses.reduce(found, each.batch.mask, tokens), "rl.ppo.learning_rate")

    def critic_backward(self, each: Rollouts, tokens: int) -> float:
        """As `policy_backward`, of the critic."""
        found = losses.value_loss(self.values(each.batch), each.values, each.returns, self.block.value_clip)
        return backward(losses.reduce(found, each.batch.mask, tokens), "rl.ppo.critic_learning_rate")

    def logprobs(self, model: Any, batch: Batch) -> Tensor:
        """Return the log-probabilities [B, T] of the answers' tokens; zero in the padding."""
        with devices.autocast(self.compute, model.device):
            logits = model(input_ids=batch.ids, use_cache=False).logits
        at = batch.before()[..., None].expand(-1, -1, logits.shape[-1])
        logs = (logits.gather(1, at).float() / self.block.temperature).log_softmax(-1)
        return torch.where(batch.mask, logs.gather(2, batch.responses[..., None])[..., 0], 0.0)

    def values(self, batch: Batch) -> Tensor:
        """Return the critic's values [B, T] of the answers' tokens; zero in the padding."""
        every = self.heads["value"](self.hidden(self.critic, batch)).squeeze(-1)
        return torch.where(batch.mask, every.gather(1, batch.before()), 0.0)

    def scores(self, batch: Batch) -> Tensor:
        """Return the scores [B] of the answers."""
        every: Tensor = self.heads["reward"](self.hidden(self.reward, batch)).squeeze(-1)
        return every[torch.arange(len(every), device=every.device), batch.starts + batch.last]

    def hidden(self, model: Any, batch: Batch) -> Tensor:
        """Return the last hidden states [B, L, H] in float32."""
        base = model.get_base_model() if isinstance(model, peft.PeftModel) else model
        with devices.autocast(self.compute, model.device):
            states: Tensor = base.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        return states.float()


def _trainable(folder: Path, compute: ComputeConfig) -> Any:
    """Return the adapter in `folder` merged into its base model, all of whose weights are trained in float32."""
    return loading.load(folder, compute).float().requires_grad_(True)


def _adapted(folder: Path, compute: ComputeConfig) -> Any:
    """Return a base model of its own with the adapter in `folder`, which is trained."""
    base = loading.whole(adapters.lineage(folder)[0], compute).requires_grad_(False)
    return peft.PeftModel.from_pretrained(base, folder, is_trainable=True).eval()


def _trained(model: nn.Module, head: nn.Module | None = None) -> dict[str, nn.Parameter]:
    """Return the trained weights of `model` and `head`."""
    named = [*model.named_parameters(), *(head.named_parameters(prefix="head") if head else ())]
    return {name: weight for name, weight in named if weight.requires_grad}
