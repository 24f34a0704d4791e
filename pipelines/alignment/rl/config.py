"""The blocks `rl.ppo` and `rl.grpo` of params.yaml."""

import math
import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipelines.block import FUNCTION, Block, Count, Fraction, LearningRate, NonNegative, Positive, Share

REWARDS = ("model", "verdict", "judge")


class HealthBlock(Block):
    """Limits at which a run stops, measured on the answers to held-out prompts after every round."""

    prompts: Count
    """Maximum number of held-out prompts, a random sample with `compute.seed`."""
    max_kl: Positive
    """Maximum KL of an answer to the reference, as a multiple of `kl_target`."""
    min_entropy: Share
    """Minimum entropy per token of answers that are no refusals, as a share of the start's."""
    max_refusal_rise: Share
    """Maximum rise of the share of answerable prompts that are refused."""
    max_length_ratio: Annotated[float, Field(ge=1)]
    """Maximum mean length of an answer, as a multiple of the start's."""
    max_truncation_rise: Share
    """Maximum rise of the share of answers that are cut at `max_new_tokens`."""
    falling_rounds: Annotated[int, Field(ge=2)]
    """Number of successive rounds in which the held-out verdict falls, while the training reward rises over them."""


class RLBlock(Block):
    """What PPO and GRPO have in common."""

    iterations: Count
    """Rounds of rollout and update."""
    prompts: Count
    """Prompts in one round."""
    samples: Count
    """Answers to each prompt; the answers of a round are generated in one batch."""
    minibatch: Count
    """Rollouts in one optimiser step."""
    microbatch: Count
    """Rollouts in one forward pass; larger is faster and needs more memory."""
    epochs: Count
    """Passes over the rollouts of a round."""
    temperature: Positive
    """Sampling temperature of the rollouts; log-probabilities of policy and reference use the same one."""
    max_new_tokens: Count
    """Maximum length of an answer, in tokens."""
    learning_rate: LearningRate
    """Initial learning rate of the policy; it decays linearly to zero."""
    reward: dict[str, float]
    """Rewards and their weights in the sum: `model` is the reward model; `verdict` scores an answer 1 if correct, 0 if
    refused and -t / (1 - t) if wrong; `judge` is a judge's rating, from -1 to 1;
    `package.module:function` is a function of prompts, answers and references."""
    confidence_target: Fraction
    """The t of `verdict`: the probability of being correct from which an answer is worth more than a refusal."""
    kl_coefficient: NonNegative
    """Weight of the KL to the reference; the initial one if `kl_horizon` is set."""
    kl_target: Positive
    """KL of an answer, in nats, that the adaptive controller aims for and `health.max_kl` is a multiple of."""
    kl_horizon: Count | None
    """Number of answers over which the controller adapts the weight of the KL; null: the weight is fixed."""
    clip: Positive
    """Clip range of the probability ratio around 1."""
    dual_clip: Annotated[float, Field(gt=1)]
    """Upper bound of the loss of a token with negative advantage, as a multiple of |advantage|."""
    score_clip: Positive
    """Clip range of normalised scores, in standard deviations of the scores of the row's policy."""
    missing_eos_penalty: NonNegative
    """Penalty on the score of an answer without an end-of-turn token."""
    health: HealthBlock
    """Limits at which the run stops; the round with the highest held-out reward is kept."""

    @field_validator("reward")
    @classmethod
    def _rewards(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = [name for name in value if name not in REWARDS and not re.match(FUNCTION, name)]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no reward; use {', '.join(REWARDS)} or package.module:function")
        if not value or not all(math.isfinite(weight) and weight for weight in value.values()):
            raise ValueError("it must name a reward, and each weight must be finite and not 0")
        return value

    @model_validator(mode="after")
    def _batches(self) -> Self:
        if self.minibatch % self.microbatch or self.prompts * self.samples % self.minibatch:
            raise ValueError("prompts x samples must be a multiple of minibatch, and minibatch of microbatch")
        return self


class PPOBlock(RLBlock):
    """Proximal policy optimisation (Schulman et al. 2017), with the details of `pipelines/alignment/rl`."""

    critic_warmup: Annotated[int, Field(ge=0)]
    """Maximum number of first rounds in which only the critic is trained."""
    min_explained_variance: Share
    """Share of the variance of the returns of new rollouts that the critic must explain for its warm-up to end."""
    critic_learning_rate: LearningRate
    """Initial learning rate of the critic; it decays linearly to zero."""
    gamma: Share
    """Discount factor."""
    gae_lambda: Share
    """Lambda of the advantages (generalised advantage estimation); the returns that the critic learns have lambda 1."""
    value_clip: Positive
    """Clip range of the value around its estimate at the start of the round, after the warm-up."""

    @model_validator(mode="after")
    def _warmup(self) -> Self:
        if self.critic_warmup >= self.iterations:
            raise ValueError(
                "critic_warmup must be below iterations: in the rounds of warm-up the policy is not trained"
            )
        return self


class GRPOBlock(RLBlock):
    """Group relative policy optimisation (Shao et al. 2024) and its variants, without a critic."""

    advantages: Literal["grpo", "rloo", "dr_grpo"]
    """How advantages and losses are computed from the scores of a prompt's answers (docs/reinforcement-learning.md)."""
    kl_estimator: Literal["k1", "k2", "k3"]
    """Estimator of the per-token KL: k1 with `rloo`, whose KL is in the reward; else k2 or k3, as a loss."""

    @model_validator(mode="after")
    def _groups(self) -> Self:
        if self.samples < 2:
            raise ValueError("samples must be at least 2: an answer is compared with others to the same prompt")
        if self.advantages == "rloo" and self.kl_estimator != "k1":
            raise ValueError("kl_estimator must be k1 with rloo: in a reward, k2 and k3 can raise the KL")
        if self.advantages != "rloo" and self.kl_estimator == "k1":
            raise ValueError("kl_estimator must be k2 or k3: the gradient of k1 as a loss is zero on average")
        return self
