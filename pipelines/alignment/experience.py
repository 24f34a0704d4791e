"""Experience of one round of rollouts: each token's log-probabilities, value, reward and advantage.

Old log-probabilities are computed by the forward pass of the update, in the same micro-batches, and not taken
from generation, whose rounding differs. So the ratio is exactly 1 before the first step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.alignment.advantages import gae, whiten
from pipelines.alignment.backbone import (
    POLICY,
    REFERENCE,
    REWARD,
    VALUE,
    Backbone,
    clone,
    scalar_head,
    train_only,
    using,
)
from pipelines.alignment.config import PPOBlock
from pipelines.alignment.logprob import kl
from pipelines.alignment.reward_model import load_head
from pipelines.alignment.rewards import ScoreNorm, shape_scores, token_rewards
from pipelines.alignment.sequences import Batch

RewardFn = Callable[[Batch], Tensor]
"""Returns the scores [B] of the responses of a batch."""


@dataclass(frozen=True)
class Actors:
    """The shared backbone with all adapters, the value head, and the reward function."""

    backbone: Backbone
    value_head: nn.Linear
    reward_fn: RewardFn


@dataclass(frozen=True)
class Experience:
    """Measurements of one micro-batch of rollouts before the update; [B, T] unless stated otherwise."""

    batch: Batch
    ended: Tensor
    """[B] whether the response ended with a stop token."""
    logprobs: Tensor
    entropy: Tensor
    kl: Tensor
    """Per-token KL to the reference, estimator k1."""
    values: Tensor
    scores: Tensor
    """[B] raw scores of the reward model."""


@dataclass(frozen=True)
class AdvantageBatch:
    """One micro-batch of rollouts with its advantages and returns."""

    rollouts: Experience
    advantages: Tensor
    returns: Tensor


def assemble(backbone: Backbone, reward: Path) -> Actors:
    """Add reference, reward and value adapters to `backbone`, which has the SFT adapter as policy.

    The reference is a copy of the policy. The critic is initialised from the reward model in `reward`, with a zero
    head.
    """
    model = backbone.model
    clone(model, POLICY, REFERENCE)
    model.load_adapter(reward, adapter_name=REWARD)
    clone(model, REWARD, VALUE)
    train_only(model, [POLICY, VALUE])
    return Actors(backbone, scalar_head(model), reward_fn(backbone, load_head(model, reward)))


def reward_fn(backbone: Backbone, head: nn.Linear) -> RewardFn:
    """Return the reward adapter with its head as a reward function."""

    def score(batch: Batch) -> Tensor:
        with using(backbone.model, REWARD):
            return backbone.scores(batch, head)

    return score


@torch.no_grad()
def measure(actors: Actors, batch: Batch, stops: list[int], temperature: float) -> Experience:
    """Evaluate one micro-batch with the policy, the reference, the critic and the reward model."""
    backbone = actors.backbone
    with using(backbone.model, POLICY):
        logprobs, entropy = backbone.policy(batch, temperature, with_entropy=True)
    with using(backbone.model, REFERENCE):
        reference, _ = backbone.policy(batch, temperature)
    with using(backbone.model, VALUE):
        values = backbone.values(batch, actors.value_head)
    final = batch.responses.gather(1, batch.last[:, None]).squeeze(1)
    ended = torch.isin(final, torch.tensor(stops, device=final.device))
    return Experience(batch, ended, logprobs, entropy, kl(logprobs, reference, "k1"), values, actors.reward_fn(batch))


def compute_advantages(rollouts: list[Experience], norm: ScoreNorm, config: PPOBlock) -> list[AdvantageBatch]:
    """Compute returns from scores and KL, and advantages whitened over all tokens of the round."""
    estimates = [_estimate(one, norm, config) for one in rollouts]
    masks = [one.batch.mask for one in rollouts]
    every = torch.cat([advantages[mask] for (advantages, _), mask in zip(estimates, masks, strict=True)])
    whitened = whiten(every, torch.ones_like(every, dtype=torch.bool))
    parts = torch.split(whitened, [int(mask.sum()) for mask in masks])
    return [
        AdvantageBatch(one, torch.zeros_like(returns).masked_scatter(one.batch.mask, advantages), returns)
        for one, advantages, (_, returns) in zip(rollouts, parts, estimates, strict=True)
    ]


def _estimate(one: Experience, norm: ScoreNorm, config: PPOBlock) -> tuple[Tensor, Tensor]:
    mask = one.batch.mask
    scores = shape_scores(norm(one.scores), one.ended, config.missing_eos_penalty, config.score_clip)
    rewards = token_rewards(scores, one.kl, one.batch.last, config.kl_coefficient, mask)
    return gae(rewards, one.values, mask, config.gamma, config.gae_lambda)
