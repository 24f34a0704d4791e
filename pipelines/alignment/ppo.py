"""Proximal policy optimisation (Schulman et al. 2017) of a chat model, in rounds: collect, score, update.

Policy, reference, critic and reward model are adapters on one frozen backbone. The per-token KL to the reference
is part of the reward, and the score is added to the last token. Policy and critic have separate optimiser steps and
never share a graph.
"""

import math
import random
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pipelines.alignment.advantages import explained_variance
from pipelines.alignment.backbone import POLICY, VALUE, named_head, named_weights, using
from pipelines.alignment.config import PPOBlock
from pipelines.alignment.experience import Actors, AdvantageBatch, Experience, compute_advantages, measure
from pipelines.alignment.losses import clipped, policy_loss, reduce, value_loss
from pipelines.alignment.rewards import ScoreNorm
from pipelines.alignment.rollout import Sampler
from pipelines.alignment.sequences import Turn, by_length, collate
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import Meter
from pipelines.runtime.tracking import Run
from pipelines.training.checkpoints import Checkpoints, Saved, State, pack, restore_generators, unpack

GRADIENT_NORM = 1.0
ADAM_EPS = 1e-5  # PyTorch's 1e-8 amplifies the noise of the first steps (Huang et al. 2024)


class PPO:
    """Trains the policy and value adapters of `actors`; `train_only` must have made both trainable."""

    def __init__(self, actors: Actors, sampler: Sampler, config: PPOBlock, seed: int) -> None:
        """Create two optimisers: one for the policy's adapter, one for the critic's adapter and head."""
        self.actors, self.sampler, self.config = actors, sampler, config
        model = actors.backbone.model
        policy = named_weights(model, POLICY)
        critic = named_weights(model, VALUE) | named_head(actors.value_head)
        self.weights = policy | critic
        self.policy = torch.optim.Adam(list(policy.values()), eps=ADAM_EPS)
        self.critic = torch.optim.Adam(list(critic.values()), eps=ADAM_EPS)
        self.random = random.Random(seed)
        self.norm: ScoreNorm | None = None
        self.history: list[dict[str, float]] = []

    def train(self, prompts: list[list[int]], run: Run, checkpoints: Checkpoints) -> list[dict[str, float]]:
        """Run every round on draws from `prompts`; return the metrics of each round, which are also logged to `run`.

        Training resumes after the last complete round of `checkpoints`, if there is one.
        """
        draws = list(self._draw(prompts))
        if saved := checkpoints.latest():
            self._restore(saved)
        meter = Meter("align@ppo", len(draws), len(self.history))
        with checkpoints.guarded():
            for number in range(len(self.history), len(draws)):
                metrics = self.round(draws[number], number)
                run.curve(metrics, number)
                self.history.append(metrics)
                meter.step(note=", ".join(f"{key} {metrics[key]:.3f}" for key in ("score", "kl", "length")))
                checkpoints.step(number + 1, self._state)
        meter.close()
        return self.history

    def _state(self) -> State:
        assert self.norm is not None
        norm = {"mean": self.norm.mean, "std": self.norm.std}
        facts = {"history": self.history, "random": self.random.getstate(), "norm": norm}
        return pack(self.weights, self.policy, self.critic), facts

    def _restore(self, saved: Saved) -> None:
        unpack(saved.tensors, self.weights, self.policy, self.critic)
        restore_generators(saved.tensors)
        version, numbers, gauss = saved.facts["random"]
        self.random.setstate((version, tuple(numbers), gauss))
        self.norm = ScoreNorm(**saved.facts["norm"])
        self.history = saved.facts["history"]

    def _draw(self, prompts: list[list[int]]) -> Iterator[list[list[int]]]:
        """Yield the prompts of each round, sampled without replacement until all have been used."""
        waiting: list[list[int]] = []
        for _ in range(self.config.iterations):
            while len(waiting) < self.config.prompts:
                waiting += self.random.sample(prompts, len(prompts))
            yield waiting[: self.config.prompts]
            waiting = waiting[self.config.prompts :]

    def round(self, prompts: list[list[int]], number: int) -> dict[str, float]:
        """Collect responses, score them and update; the first `critic_warmup` rounds update only the critic."""
        self._decay(number)
        rollouts = self.collect(self.sampler.generate(prompts))
        if self.norm is None:  # the policy is still the SFT model
            self.norm = ScoreNorm.of(torch.cat([one.scores for one in rollouts]))
        batches = compute_advantages(rollouts, self.norm, self.config)
        return describe(batches) | self.update(batches, with_policy=number >= self.config.critic_warmup)

    def _decay(self, number: int) -> None:
        left = 1 - number / self.config.iterations
        for optimizer, rate in (
            (self.policy, self.config.learning_rate),
            (self.critic, self.config.critic_learning_rate),
        ):
            optimizer.param_groups[0]["lr"] = rate * left

    def collect(self, turns: list[Turn]) -> list[Experience]:
        """Evaluate `turns` in the micro-batches of the update."""
        backbone = self.actors.backbone
        groups = by_length(turns, self.config.microbatch)
        batches = [collate([turns[i] for i in group], backbone.tok.pad_token_id, backbone.device) for group in groups]
        return [measure(self.actors, batch, self.sampler.stops, self.config.temperature) for batch in batches]

    def update(self, batches: list[AdvantageBatch], with_policy: bool) -> dict[str, float]:
        """Run all optimiser steps of a round; return the mean losses and the share of clipped tokens."""
        policy_losses, value_losses, clips = [], [], []
        for group in self._minibatches(batches):
            if with_policy:
                loss, share = self.policy_step(group)
                policy_losses.append(loss)
                clips.append(share)
            value_losses.append(self.critic_step(group))
        measured = {"policy_loss": policy_losses, "value_loss": value_losses, "clip_fraction": clips}
        return {name: sum(values) / len(values) if values else 0.0 for name, values in measured.items()}

    def _minibatches(self, batches: list[AdvantageBatch]) -> Iterator[list[AdvantageBatch]]:
        size = max(1, self.config.minibatch // self.config.microbatch)
        for _ in range(self.config.epochs):
            order = self.random.sample(batches, len(batches))
            yield from (order[start : start + size] for start in range(0, len(order), size))

    def policy_step(self, group: list[AdvantageBatch]) -> tuple[float, float]:
        """Run one optimiser step of the policy; return its loss and the share of tokens with a clipped ratio."""
        clip, tokens, total, left = self.config.clip, _tokens(group), 0.0, 0
        with using(self.actors.backbone.model, POLICY):
            for batch in group:
                old, mask = batch.rollouts.logprobs, batch.rollouts.batch.mask
                new, _ = self.actors.backbone.policy(batch.rollouts.batch, self.config.temperature)
                losses = policy_loss(new, old, batch.advantages, clip, clip, self.config.dual_clip)
                total += backward(reduce(losses, mask, tokens), "policy")
                left += int((clipped(new.detach(), old, clip, clip) & mask).sum())
        step(self.policy)
        return total, left / tokens

    def critic_step(self, group: list[AdvantageBatch]) -> float:
        """Run one optimiser step of the critic on `group`; return its loss."""
        tokens, total = _tokens(group), 0.0
        with using(self.actors.backbone.model, VALUE):
            for batch in group:
                values = self.actors.backbone.values(batch.rollouts.batch, self.actors.value_head)
                losses = value_loss(values, batch.rollouts.values, batch.returns, self.config.value_clip)
                total += backward(reduce(losses, batch.rollouts.batch.mask, tokens), "critic")
        step(self.critic)
        return total


def _tokens(group: list[AdvantageBatch]) -> int:
    return sum(int(batch.rollouts.batch.mask.sum()) for batch in group)


def backward(loss: Tensor, whose: str) -> float:
    """Add the gradients of `loss` and return its value.

    Raises:
        UserError: the loss is NaN or infinite.
    """
    value = float(loss.detach())
    if not math.isfinite(value):
        raise UserError(
            f"The loss of the {whose} became {value}; lower its learning rate below align.ppo in params.yaml."
        )
    loss.backward()  # type: ignore[no-untyped-call]
    return value


def step(optimizer: torch.optim.Optimizer) -> None:
    """Clip the gradients, step the optimiser, and reset the gradients.

    Raises:
        RuntimeError: a parameter has no gradient, since its adapter was not active in the forward pass.
    """
    parameters = optimizer.param_groups[0]["params"]
    if any(parameter.grad is None for parameter in parameters):
        raise RuntimeError("a trained parameter got no gradient; was another adapter active in the forward pass?")
    nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
    optimizer.step()
    optimizer.zero_grad()


def describe(batches: list[AdvantageBatch]) -> dict[str, float]:
    """Return the means of a round per response (entropy: per token); `kl` is summed over a response's tokens."""
    rollouts = [batch.rollouts for batch in batches]
    masks = [one.batch.mask for one in rollouts]
    values, returns = (
        torch.cat([tensor[mask] for tensor, mask in zip(tensors, masks, strict=True)])
        for tensors in ([one.values for one in rollouts], [batch.returns for batch in batches])
    )
    return {
        "score": float(torch.cat([one.scores for one in rollouts]).mean()),
        "kl": float(torch.cat([one.kl.sum(dim=1) for one in rollouts]).mean()),
        "entropy": sum(float(one.entropy.sum()) for one in rollouts) / _tokens(batches),
        "length": float(torch.cat([mask.sum(dim=1) for mask in masks]).float().mean()),
        "ended": float(torch.cat([one.ended for one in rollouts]).float().mean()),
        "explained_variance": explained_variance(values, returns),
    }
