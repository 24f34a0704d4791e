"""The blocks `preferences`, `reward` and `align` of params.yaml."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.block import Block, Count, LearningRate, NonNegative, Positive, Share


class PreferencesConfig(Block):
    """Pairs of answers, the better one first."""

    prompts: Count
    """Questions that answers are sampled to, at most: there are as many as `unanswerable_share` allows."""
    min_prompts: Annotated[int, Field(ge=0)]
    """Where there are fewer questions, keyword queries fill up to so many."""
    unanswerable_share: Share
    """Of the prompts that have no answer: there refusing is preferred to inventing, elsewhere answering to refusing."""
    samples: Count
    """Answers drawn for each, at each temperature."""
    temperatures: Annotated[list[Positive], Field(min_length=1)]
    """Of the samples."""
    ranker: Literal["reference", "judge", "score", "reward", "human"]
    """Whose opinion makes pairs: the reference answer's, by rule; the judge's (teacher.roles.judge), of two answers or
    by score; a reward model's; or people's choices alone."""
    judge_samples: Count
    """How often the judge scores a sample, for `score`; the mean counts."""
    reward_model: Path | None
    """A folder with a reward model of this SFT model, as the task `reward` writes, for `reward`."""
    inputs: Path
    """A folder with one for each ranker, of what that one reads: `human` holds people's choices (`gradus label`). Only
    the chosen ranker's is a dependency, so that labelling makes nothing stale until the labels are used."""
    max_length_ratio: Annotated[float, Field(ge=1)]
    """A pair with a longer answer than this many times the other is dropped, unless one is the refusal."""
    min_margin: NonNegative
    """A pair whose answers differ less in worth is dropped: in token F1 to the reference, in score, from 0 to 1."""
    max_new_tokens: Count
    """Longest sample."""
    min_token_recall: Share
    """A sample with fewer of the answer's words, or without one of its numbers, is wrong. Half an answer makes no
    pair."""
    held_out_share: Share
    """Share of the prompts whose pairs only test the reward model."""
    batch_size: Count
    """Prompts generated at once."""

    @property
    def human(self) -> Path:
        """Where people's choices lie."""
        return self.inputs / "human"

    @property
    def choices(self) -> Path:
        """What the chosen ranker reads."""
        return self.inputs / self.ranker


class RewardConfig(Block):
    """The pairwise reward model (Bradley-Terry): a copy of the SFT adapter, trained on, with a head of its own."""

    learning_rate: LearningRate
    """Peak."""
    epochs: Count
    """Passes over the pairs."""
    batch_size: Count
    """Pairs in one optimiser step."""


class DPOBlock(Block):
    """Direct preference optimisation (Rafailov et al. 2023)."""

    beta: Positive
    """Strength of the pull to the reference."""
    sft_weight: NonNegative
    """Weight of the likelihood of the chosen answer, against likelihood displacement."""
    learning_rate: LearningRate
    """Peak."""
    epochs: Count
    """Passes over the pairs."""
    batch_size: Count
    """Pairs in one optimiser step."""


class PPOBlock(Block):
    """Proximal policy optimisation (Schulman et al. 2017), with the details of `pipelines/alignment`."""

    iterations: Count
    """Rounds of rollout and update."""
    prompts: Count
    """Prompts in one round, answered at once."""
    minibatch: Count
    """Rollouts in one optimiser step."""
    microbatch: Count
    """Rollouts in one forward pass: memory against speed."""
    epochs: Count
    """Passes over the rollouts of a round."""
    critic_warmup: Annotated[int, Field(ge=0)]
    """First rounds in which only the value function learns."""
    temperature: Positive
    """Of the rollouts, the reference and the update alike."""
    max_new_tokens: Count
    """Longest answer."""
    learning_rate: LearningRate
    """Of the policy."""
    critic_learning_rate: LearningRate
    """Of the value function."""
    kl_coefficient: NonNegative
    """Weight of the per-token KL to the reference, in the reward."""
    gamma: Share
    """Discount."""
    gae_lambda: Share
    """Of the generalised advantage estimate."""
    clip: Positive
    """Range of the probability ratio."""
    dual_clip: Annotated[float, Field(gt=1)]
    """Bound of the loss of a token that was worse than expected, in advantages."""
    value_clip: Positive
    """Range in which the value may move in one round."""
    score_clip: Positive
    """Bound of a score, in standard deviations of the SFT model's scores."""
    missing_eos_penalty: NonNegative
    """Taken off the score of an answer that did not end."""

    @model_validator(mode="after")
    def _batches(self) -> "PPOBlock":
        if self.minibatch % self.microbatch or self.prompts % self.minibatch:
            raise ValueError("prompts must be a multiple of minibatch, and minibatch of microbatch")
        return self


class AlignConfig(Block):
    """Alignment with preferences, one model per method."""

    methods: list[Literal["dpo", "ppo"]]
    """Each becomes a stage `align@<method>`."""
    dpo: DPOBlock
    """Direct preference optimisation."""
    ppo: PPOBlock
    """Reward model and policy gradient."""
