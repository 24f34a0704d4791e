"""Proximal policy optimisation (Schulman et al. 2017) of a chat model, with a critic on an adapter of its own.

The per-token KL to the reference is part of the reward, and the score is added to the last token. Policy and critic
have separate optimiser steps and never share a graph.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipelines.alignment.backbone import VALUE, named_head, named_weights, scalar_head, using
from pipelines.alignment.losses import reduce, value_loss
from pipelines.alignment.rl import health
from pipelines.alignment.rl.advantages import explained_variance, gae, whiten
from pipelines.alignment.rl.config import PPOBlock
from pipelines.alignment.rl.experience import AdvantageBatch, Experience
from pipelines.alignment.rl.rewards import token_rewards
from pipelines.alignment.rl.samples import Prompt
from pipelines.alignment.rl.steps import adam, backward, step
from pipelines.alignment.rl.trainer import Actors, Trainer, means
from pipelines.alignment.sequences import Batch
from pipelines.runtime.progress import say
from pipelines.runtime.tracking import Run


@dataclass(frozen=True)
class ValueTargets:
    """What the critic learns from one micro-batch; [B, T]."""

    batch: Batch
    values: Tensor
    """Values before the update."""
    returns: Tensor
    """Discounted sums of the rewards, which no value biases."""


class PPO(Trainer):
    """Trains the policy and value adapters of `actors`; `train_only` must have made both trainable."""

    name = "ppo"
    config: PPOBlock

    def __init__(self, actors: Actors, config: PPOBlock, seed: int) -> None:
        """Create the optimisers: of the policy's adapter, and of the critic's adapter and head, which is zero."""
        super().__init__(actors, config, seed)
        self.value_head = scalar_head(self.backbone.model)
        self.value_weights = named_weights(self.backbone.model, VALUE)
        self.critic_weights = self.value_weights | named_head(self.value_head)
        self.critic = adam(self.critic_weights)

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The weights of policy and critic."""
        return self.policy_weights | self.critic_weights

    @property
    def optimizers(self) -> list[tuple[torch.optim.Optimizer, float]]:
        """The optimisers of policy and critic, with their initial learning rates."""
        return [*super().optimizers, (self.critic, self.config.critic_learning_rate)]

    def evaluate(self, held_out: list[Prompt], run: Run) -> dict[str, float]:
        """Measure the policy on answers to `held_out`, unless the last round, one of warm-up, has not changed it."""
        if self.history and self.history[-1]["critic_warmup"]:
            return {name: self.history[-1][name] for name in health.MEASUREMENTS}
        return super().evaluate(held_out, run)

    def update(self, rollouts: list[Experience], number: int) -> dict[str, float]:
        """Run all optimiser steps of a round; return their mean metrics, and those of the critic."""
        batches, targets = self.estimate(rollouts)
        explained = _explained_variance(targets)
        warmup = self.warming_up(explained, number)
        policy_steps, value_losses = [], []
        for group in self.minibatches(len(rollouts)):
            if not warmup:
                policy_steps.append(self.policy_step([batches[index] for index in group]))
            value_losses.append(self.critic_step([targets[index] for index in group], warmup))
        critic = {"value_loss": sum(value_losses) / len(value_losses), "explained_variance": explained}
        return means(policy_steps) | critic | {"critic_warmup": float(warmup)}

    def warming_up(self, explained: float, number: int) -> bool:
        """Return whether round `number` trains the critic alone, which explains this share of the new returns.

        A policy that follows a critic without skill is pushed by noise; value pretraining is what keeps long PPO runs
        from collapsing (Yuan et al. 2025, arXiv:2503.01491). The warm-up ends once; if it ends at its maximum, that is
        printed.
        """
        least, most = self.config.min_explained_variance, self.config.critic_warmup
        if explained > least or any(not each["critic_warmup"] for each in self.history[:number]):
            return False
        if number == most > 0:
            say(
                f"ppo: after {most} rounds of warm-up the critic explains {explained:.2f} of the variance of new "
                f"returns, not {least:g}, so advantages are noisy; raise rl.ppo.critic_warmup or rl.ppo.prompts."
            )
        return number < most

    def estimate(self, rollouts: Sequence[Experience]) -> tuple[list[AdvantageBatch], list[ValueTargets]]:
        """Compute returns from scores and KL, and advantages whitened over all tokens of the round."""
        values = self.values(rollouts)
        estimates = [self._gae(one, before) for one, before in zip(rollouts, values, strict=True)]
        masks = [one.batch.mask for one in rollouts]
        every = torch.cat([advantages[mask] for (advantages, _), mask in zip(estimates, masks, strict=True)])
        whitened = whiten(every, torch.ones_like(every, dtype=torch.bool))
        parts = torch.split(whitened, [int(mask.sum()) for mask in masks])
        batches = [
            AdvantageBatch(
                one,
                torch.zeros_like(one.logprobs).masked_scatter(mask, part),
                weights=mask.to(part.dtype),
                count=len(part),
            )
            for one, mask, part in zip(rollouts, masks, parts, strict=True)
        ]
        targets = [
            ValueTargets(one.batch, before, returns)
            for one, before, (_, returns) in zip(rollouts, values, estimates, strict=True)
        ]
        return batches, targets

    def _gae(self, one: Experience, values: Tensor) -> tuple[Tensor, Tensor]:
        mask = one.batch.mask
        rewards = token_rewards(self.shaped(one), one.kl, one.batch.last, self.controller.beta, mask)
        return gae(rewards, values, mask, self.config.gamma, self.config.gae_lambda)

    @torch.no_grad()
    def values(self, rollouts: Sequence[Experience]) -> list[Tensor]:
        """Return the critic's values [B, T] of the response tokens of each micro-batch."""
        with using(self.backbone.model, VALUE):
            return [self.backbone.values(one.batch, self.value_head) for one in rollouts]

    def critic_step(self, group: list[ValueTargets], warmup: bool) -> float:
        """Run one optimiser step of the critic on `group`; return its loss.

        In the warm-up values are not clipped: they start at 0, and beyond ±`value_clip` would have no gradient.
        """
        clip = math.inf if warmup else self.config.value_clip
        tokens, total = sum(int(one.batch.mask.sum()) for one in group), 0.0
        with using(self.backbone.model, VALUE):
            for one in group:
                values = self.backbone.values(one.batch, self.value_head)
                losses = value_loss(values, one.values, one.returns, clip)
                total += backward(reduce(losses, one.batch.mask, tokens), "rl.ppo.critic_learning_rate")
        step(self.critic, self.value_weights.values())
        return total


def _explained_variance(targets: Sequence[ValueTargets]) -> float:
    """Return the share of the variance of the returns that the values explain, over all tokens of a round."""
    values, returns = (
        torch.cat([tensor[one.batch.mask] for one, tensor in zip(targets, tensors, strict=True)])
        for tensors in ([one.values for one in targets], [one.returns for one in targets])
    )
    return explained_variance(values, returns)
