"""Online training of the policy's adapter, in rounds: measure, collect, score, update.

Subclasses turn scores into advantages and losses. The policy, the reference and further adapters share one frozen
backbone. The run stops at a round that is not healthy, and the best round before is kept.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipelines.alignment.backbone import POLICY, Backbone, named_weights, using
from pipelines.alignment.losses import clipped, policy_loss, reduce
from pipelines.alignment.rewards.functions import RewardFn, Verdict
from pipelines.alignment.rl import health
from pipelines.alignment.rl.config import RLBlock
from pipelines.alignment.rl.experience import AdvantageBatch, Experience, describe, measure
from pipelines.alignment.rl.health import BestRound
from pipelines.alignment.rl.kl import KLController
from pipelines.alignment.rl.rewards import ScoreNorm, shape_scores
from pipelines.alignment.rl.rollout import Sampler
from pipelines.alignment.rl.samples import Prompt, Sample
from pipelines.alignment.rl.steps import adam, backward, step
from pipelines.models.templates.stops import answer_text
from pipelines.runtime.progress import Meter, say
from pipelines.runtime.tracking import Run
from pipelines.training.checkpoints import Checkpoints, Saved, State, pack, restore_generators, unpack
from pipelines.training.monitoring.samples import COLUMNS, QUESTIONS, TABLE, table_rows

START = 1e-2  # largest KL of an answer at the start, in nats; exactly 0 on a CPU
STEP = ("policy_loss", "clip_fraction", "gradient_norm")
"""Metrics of an optimiser step of the policy: loss, share of tokens with a clipped ratio, and norm before clipping."""


@dataclass(frozen=True)
class Actors:
    """The shared backbone with all adapters, and what answers and scores."""

    backbone: Backbone
    sampler: Sampler
    reward: RewardFn
    verdict: Verdict


class Trainer(ABC):
    """Trains the policy adapter of `actors`, which `train_only` must have made trainable."""

    name: str
    """Name of the method, a key of `rl`."""

    def __init__(self, actors: Actors, config: RLBlock, seed: int) -> None:
        """Create the optimiser of the policy's adapter."""
        self.actors, self.backbone, self.config, self.seed = actors, actors.backbone, config, seed
        self.policy_weights = named_weights(self.backbone.model, POLICY)
        self.policy = adam(self.policy_weights)
        self.random = random.Random(seed)
        self.controller = KLController(config.kl_coefficient, config.kl_target, config.kl_horizon)
        self.norm: ScoreNorm | None = None
        self.history: list[dict[str, float]] = []
        self.best = BestRound()

    @abstractmethod
    def update(self, rollouts: list[Experience], number: int) -> dict[str, float]:
        """Run all optimiser steps of round `number`; return its metrics."""

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """All trained weights."""
        return self.policy_weights

    @property
    def optimizers(self) -> list[tuple[torch.optim.Optimizer, float]]:
        """The optimisers, with their initial learning rates."""
        return [(self.policy, self.config.learning_rate)]

    @property
    def stop(self) -> health.Stop | None:
        """Why the run has stopped before its last round, if it has."""
        return health.diagnose(self.history, self.config.health, self.config.kl_target) if self.history else None

    def train(
        self, prompts: list[Prompt], held_out: list[Prompt], run: Run, checkpoints: Checkpoints
    ) -> list[dict[str, float]]:
        """Run the rounds on draws from `prompts`, and leave the policy of the best healthy round in the adapter.

        Returns the metrics of each round, which are also logged to `run`: those named `held_out_…` are means over the
        answers to `held_out`, the others are of the rollouts and the update that follows; the last round has none.
        Training resumes after the last complete round of `checkpoints`, if there is one.
        """
        draws = list(self._draw(prompts))
        if saved := checkpoints.latest():
            self._restore(saved)
        meter = Meter(f"rounds of {self.name}", len(draws) + 1, len(self.history))
        with checkpoints.guarded():
            while self.stop is None and len(self.history) <= len(draws):
                number = len(self.history)
                self.history.append(self.evaluate(held_out, run))
                if self.stop is None:
                    self.best.offer(self.history, self.policy_weights)
                    self.history[number] |= self.round(draws[number], number) if number < len(draws) else {}
                run.curve(self.history[number], number)
                meter.step(note=_note(self.history[number]))
                checkpoints.step(number + 1, self._state)
        meter.close()
        if self.stop is not None:
            self._report(self.stop, run)
        elif not self.best.number:
            say(f"{self.name}: no round has a higher held-out reward than the start, so the start is kept.")
        for name, weight in self.policy_weights.items():
            weight.data.copy_(self.best.weights[name])
        return self.history

    def _report(self, stop: health.Stop, run: Run) -> None:
        number, best = len(self.history) - 1, self.best.number
        sentence = f"{self.name} stopped at round {number}: {stop.sentence}; round {best}, the best one, is kept."
        say(sentence)
        run.tags({"stopped": sentence})

    def _state(self) -> State:
        assert self.norm is not None
        facts = {
            "history": self.history,
            "random": self.random.getstate(),
            "norm": {"mean": self.norm.mean, "std": self.norm.std},
            "beta": self.controller.beta,
            "best": self.best.number,
        }
        best = {f"best/{name}": weight for name, weight in self.best.weights.items()}
        return pack(self.weights, *(optimizer for optimizer, _ in self.optimizers)) | best, facts

    def _restore(self, saved: Saved) -> None:
        unpack(saved.tensors, self.weights, *(optimizer for optimizer, _ in self.optimizers))
        restore_generators(saved.tensors)
        version, numbers, gauss = saved.facts["random"]
        self.random.setstate((version, tuple(numbers), gauss))
        self.norm = ScoreNorm(**saved.facts["norm"])
        self.history = saved.facts["history"]
        self.controller.beta = saved.facts["beta"]
        self.best = BestRound(
            saved.facts["best"], {name: saved.tensors[f"best/{name}"] for name in self.policy_weights}
        )

    def _draw(self, prompts: list[Prompt]) -> Iterator[list[Prompt]]:
        """Yield the prompts of each round, sampled without replacement until all have been used."""
        waiting: list[Prompt] = []
        for _ in range(self.config.iterations):
            while len(waiting) < self.config.prompts:
                waiting += self.random.sample(prompts, len(prompts))
            yield waiting[: self.config.prompts]
            waiting = waiting[self.config.prompts :]

    def evaluate(self, held_out: list[Prompt], run: Run) -> dict[str, float]:
        """Measure the policy on answers to `held_out`, sampled with the same seed every time, and log some of them.

        Raises:
            RuntimeError: policy and reference differ before the first update.
        """
        devices = [self.backbone.device] if self.backbone.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.seed)
            samples = self.answer(held_out)
        rollouts = self.collect(samples)
        assert self.norm is not None
        penalty = self.config.missing_eos_penalty * self.norm.std
        metrics = health.measurements(rollouts, samples, self.actors.verdict, penalty)
        self._log(samples, rollouts, run)
        if not self.history and abs(metrics[health.KL]) > START:
            raise RuntimeError(f"training starts at a KL of {metrics[health.KL]:.4f}: the reference is not its start")
        return metrics

    def _log(self, samples: Sequence[Sample], rollouts: Sequence[Experience], run: Run) -> None:
        """Log the first answers to the held-out prompts as a table, unless the interrupted run has."""
        number = len(self.history)
        if number <= run.logged.get(f"train/{health.REWARD}", -1):
            return
        scores = {row: float(score) for one in rollouts for row, score in zip(one.rows, one.scores, strict=True)}
        answers = [
            (sample.prompt.question.question, sample.prompt.reference, sample.text) for sample in samples[:QUESTIONS]
        ]
        table = [each | {"score": scores[row]} for row, each in enumerate(table_rows(number, answers))]
        run.table(TABLE, table, (*COLUMNS, "score"))

    def round(self, prompts: list[Prompt], number: int) -> dict[str, float]:
        """Collect answers to `prompts`, score them and update."""
        for optimizer, rate in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate * (1 - number / self.config.iterations)
        samples = self.answer([prompt for prompt in prompts for _ in range(self.config.samples)])
        rollouts = self.collect(samples)
        rates = {"learning_rate": self.policy.param_groups[0]["lr"], "kl_coefficient": self.controller.beta}
        metrics = describe(rollouts) | rates | self.update(rollouts, number)
        self.controller.update(metrics["kl"], len(samples))
        return metrics

    def answer(self, prompts: Sequence[Prompt]) -> list[Sample]:
        """Sample an answer to each prompt."""
        turns = self.actors.sampler.generate([prompt.ids for prompt in prompts])
        return [
            Sample(prompt, response, answer_text(self.backbone.tok, response))
            for prompt, (_, response) in zip(prompts, turns, strict=True)
        ]

    def collect(self, samples: Sequence[Sample]) -> list[Experience]:
        """Score `samples`, and evaluate them with policy and reference in the micro-batches of the update.

        The first samples, which are the row's policy's, determine how scores are normalised.
        """
        turns, scores = [sample.turn for sample in samples], self.actors.reward(samples)
        self.norm = self.norm or ScoreNorm.of(scores)
        stops = self.actors.sampler.stops
        return measure(self.backbone, turns, scores, self.config.microbatch, stops, self.config.temperature)

    def shaped(self, rollouts: Experience) -> Tensor:
        """Return the normalised, clipped and penalised scores [B]."""
        assert self.norm is not None
        config = self.config
        return shape_scores(self.norm(rollouts.scores), rollouts.ended, config.missing_eos_penalty, config.score_clip)

    def minibatches(self, count: int) -> Iterator[list[int]]:
        """Yield, for each optimiser step, the indices of its micro-batches, of `count` in the round."""
        size = max(1, self.config.minibatch // self.config.microbatch)
        for _ in range(self.config.epochs):
            order = self.random.sample(range(count), count)
            yield from (order[start : start + size] for start in range(0, count, size))

    def policy_step(self, group: list[AdvantageBatch]) -> dict[str, float]:
        """Run one optimiser step of the policy; return the metrics `STEP`."""
        clip, count, total, left = self.config.clip, sum(batch.count for batch in group), 0.0, 0
        with using(self.backbone.model, POLICY):
            for batch in group:
                old, mask = batch.rollouts.logprobs, batch.rollouts.batch.mask
                new, _ = self.backbone.policy(batch.rollouts.batch, self.config.temperature)
                losses = self.token_losses(batch, new) * batch.weights
                total += backward(reduce(losses, mask, count), f"rl.{self.name}.learning_rate")
                left += int((clipped(new.detach(), old, clip, clip) & mask).sum())
        norm = step(self.policy, self.policy_weights.values())
        share = left / sum(int(batch.rollouts.batch.mask.sum()) for batch in group)
        return dict(zip(STEP, (total, share, norm), strict=True))

    def token_losses(self, batch: AdvantageBatch, new: Tensor) -> Tensor:
        """Return the losses [B, T] of the tokens at the log-probabilities `new`."""
        clip = self.config.clip
        return policy_loss(new, batch.rollouts.logprobs, batch.advantages, clip, clip, self.config.dual_clip)


def means(steps: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the means of the metrics of a round's optimiser steps of the policy; zeros if there was none."""
    return {name: sum(each[name] for each in steps) / max(1, len(steps)) for name in STEP}


def _note(metrics: health.Round) -> str:
    shown = (health.REWARD, health.KL, health.LENGTH)
    return ", ".join(f"{name.removeprefix('held_out_')} {metrics[name]:.3f}" for name in shown)
