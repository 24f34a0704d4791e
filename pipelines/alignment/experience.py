"""What one round of rollouts taught: each token's log-probabilities, value, reward and advantage.

Old log-probabilities are computed here by the forward that the update will use, in the same micro-batches,
and not taken from generation, whose rounding differs: so the ratio is exactly 1 before the first step.
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
"""Scores the responses of a batch: [B]."""


@dataclass(frozen=True)
class Actors:
    """Everyone on the one backbone, and the heads beside it."""

    backbone: Backbone
    value_head: nn.Linear
    judge: RewardFn


@dataclass(frozen=True)
class Experience:
    """One micro-batch of rollouts as measured before the update. [B, T] unless said otherwise."""

    batch: Batch
    ended: Tensor
    """[B] whether the response reached a stop token."""
    logprobs: Tensor
    entropy: Tensor
    kl: Tensor
    """Per token, k1, to the reference."""
    values: Tensor
    scores: Tensor
    """[B] raw."""


@dataclass(frozen=True)
class Lesson:
    """An experience with its credit assigned."""

    seen: Experience
    advantages: Tensor
    returns: Tensor


def assemble(backbone: Backbone, reward: Path) -> Actors:
    """Put everyone on `backbone`, which carries the SFT adapter as policy.

    The reference is a copy of it. The critic begins as a copy of the reward model in `reward`, with a head
    that expects nothing yet.
    """
    model = backbone.model
    clone(model, POLICY, REFERENCE)
    model.load_adapter(reward, adapter_name=REWARD)
    clone(model, REWARD, VALUE)
    train_only(model, [POLICY, VALUE])
    return Actors(backbone, scalar_head(model), reward_fn(backbone, load_head(model, reward)))


def reward_fn(backbone: Backbone, head: nn.Linear) -> RewardFn:
    """Return the reward adapter with its head as a judge."""

    def judge(batch: Batch) -> Tensor:
        with using(backbone.model, REWARD):
            return backbone.scores(batch, head)

    return judge


@torch.no_grad()
def measure(actors: Actors, batch: Batch, stops: list[int], temperature: float) -> Experience:
    """Score one micro-batch with the policy, the reference, the critic and the judge."""
    backbone = actors.backbone
    with using(backbone.model, POLICY):
        logprobs, entropy = backbone.policy(batch, temperature, with_entropy=True)
    with using(backbone.model, REFERENCE):
        reference, _ = backbone.policy(batch, temperature)
    with using(backbone.model, VALUE):
        values = backbone.values(batch, actors.value_head)
    final = batch.responses.gather(1, batch.last[:, None]).squeeze(1)
    ended = torch.isin(final, torch.tensor(stops, device=final.device))
    return Experience(batch, ended, logprobs, entropy, kl(logprobs, reference, "k1"), values, actors.judge(batch))


def compute_advantages(seen: list[Experience], norm: ScoreNorm, config: PPOBlock) -> list[Lesson]:
    """Turn scores and KL into returns, and into advantages whitened over all tokens of the round."""
    estimates = [_estimate(one, norm, config) for one in seen]
    masks = [one.batch.mask for one in seen]
    every = torch.cat([advantages[mask] for (advantages, _), mask in zip(estimates, masks, strict=True)])
    whitened = whiten(every, torch.ones_like(every, dtype=torch.bool))
    parts = torch.split(whitened, [int(mask.sum()) for mask in masks])
    return [
        Lesson(one, torch.zeros_like(returns).masked_scatter(one.batch.mask, advantages), returns)
        for one, advantages, (_, returns) in zip(seen, parts, estimates, strict=True)
    ]


def _estimate(one: Experience, norm: ScoreNorm, config: PPOBlock) -> tuple[Tensor, Tensor]:
    mask = one.batch.mask
    scores = shape_scores(norm(one.scores), one.ended, config.missing_eos_penalty, config.score_clip)
    rewards = token_rewards(scores, one.kl, one.batch.last, config.kl_coefficient, mask)
    return gae(rewards, one.values, mask, config.gamma, config.gae_lambda)
