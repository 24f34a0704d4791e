"""The blocks `pairs`, `reward`, `align` and `rl` of params.yaml; `alignment`, their rows, is in rows.py."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.alignment.rl.config import GRPOBlock, PPOBlock
from pipelines.block import Block, Count, LearningRate, NonNegative, Positive, Share
from pipelines.models.tuning.config import TuningConfig


class PairsConfig(Block):
    """How preference pairs are sampled, ranked and filtered."""

    prompts: Count
    """Maximum number of prompts; `unanswerable_share` may allow fewer."""
    online_prompts: Count
    """Maximum number of further prompts, for online training: a reward model has not seen them."""
    min_prompts: Annotated[int, Field(ge=0)]
    """Keyword queries fill up to this number of prompts if there are fewer questions."""
    unanswerable_share: Share
    """Share of unanswerable prompts. Their pairs prefer the refusal to hallucinations; pairs of other prompts prefer
    the answer to a refusal."""
    samples: Count
    """Samples per prompt and temperature."""
    temperatures: Annotated[list[Positive], Field(min_length=1)]
    """Sampling temperatures."""
    judge_samples: Count
    """Ratings of each sample by the judge (`score`); their mean is the score."""
    judge_temperature: Positive
    """Sampling temperature of the ratings if `judge_samples` is above 1; a single rating is greedy."""
    ranked_pairs: Literal["best_worst", "all"]
    """Pairs of a prompt's samples, if the ranker gives scores: the best with the worst, or every better
    with every worse one, up to K (K - 1) / 2 for K samples (Ouyang et al. 2022)."""
    inputs: Path
    """Folder with one subfolder of inputs per ranker; `human` contains people's choices (`gradus label`). Only the
    subfolder of a row's ranker is a dependency, so that labelling makes no stage stale until the labels are used."""
    max_tokens: Count
    """Maximum length of a prompt with one answer, in tokens; pairs above it are dropped, not cut, and so are prompts
    that would exceed it with `max_new_tokens`. The model's context is a limit, too."""
    max_length_ratio: Annotated[float, Field(ge=1)]
    """Maximum ratio of the lengths of the two answers; pairs above it are dropped, unless one is the refusal."""
    min_margin: NonNegative
    """Minimum margin of a pair, from 0 to 1: the difference in token F1 to the reference, or in score."""
    max_new_tokens: Count
    """Maximum length of a sample, in tokens."""
    min_token_recall: Share
    """Minimum token recall of the reference answer; a sample below it, or without one of its numbers, is wrong. A
    partial answer makes no pair."""
    held_out_share: Share
    """Share of the prompts that are held out: their pairs evaluate the reward model, and online prompts the rounds of
    online training."""
    batch_size: Count
    """Prompts in one generation batch."""

    @property
    def human(self) -> Path:
        """Folder of people's choices."""
        return self.inputs / "human"


class RewardConfig(Block):
    """Pairwise reward model (Bradley-Terry): a copy of the SFT adapter, trained further, with a scalar head."""

    learning_rate: LearningRate
    """Peak learning rate."""
    epochs: Count
    """Passes over the pairs."""
    batch_size: Count
    """Maximum number of pairs in one optimiser step. All pairs of a prompt are in the same step, which may exceed it,
    and together weigh as much as the single pair of another."""
    margin_scale: NonNegative
    """Difference in score that a pair of margin 1 is to exceed, in proportion for others (Llama 2, Touvron et al. 2023,
    section 3.2.2); 0 ignores margins."""
    centering: NonNegative
    """Weight of the squared sum of a pair's scores, which keeps scores near 0 (Eisenstein et al. 2023); 0 is off."""


PREFERENCE_PARAMETERS = {
    "robust": ("label_smoothing",),
    "simpo": ("target_margin",),
    "kto": ("desirable_weight", "undesirable_weight"),
}
"""Parameters of `PreferenceBlock` that only some losses have."""


class PreferenceBlock(Block):
    """Offline preference optimisation: training on fixed pairs, without samples or a reward model."""

    loss: Literal["sigmoid", "sigmoid_norm", "ipo", "hinge", "robust", "orpo", "simpo", "cpo", "kto"]
    """Preference loss, by its name in TRL; `sigmoid` is DPO (Rafailov et al. 2023). docs/alignment.md compares them."""
    beta: Positive
    """Strength of the implicit KL constraint to the reference. Losses without a reference: scale of the reward (cpo,
    simpo), or weight of the odds ratio (orpo)."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] | None
    """Assumed share of pairs with swapped answers (`robust` only)."""
    target_margin: NonNegative | None
    """Reward margin that a pair must exceed, the paper's gamma (`simpo` only)."""
    desirable_weight: Positive | None
    """Weight of chosen answers (`kto` only)."""
    undesirable_weight: Positive | None
    """Weight of rejected answers (`kto` only)."""
    sft_weight: NonNegative
    """Weight of the SFT loss on the chosen answer, against likelihood displacement."""
    learning_rate: LearningRate
    """Peak learning rate."""
    epochs: Count
    """Passes over the pairs."""
    batch_size: Count
    """Pairs in one optimiser step."""

    @property
    def loss_parameters(self) -> dict[str, float]:
        """Parameters of the chosen loss by name."""
        return self.model_dump(include={"beta", *PREFERENCE_PARAMETERS.get(self.loss, ())})

    @model_validator(mode="after")
    def _parameters_of_the_loss(self) -> "PreferenceBlock":
        wanted = PREFERENCE_PARAMETERS.get(self.loss, ())
        for name in sorted({each for names in PREFERENCE_PARAMETERS.values() for each in names}):
            if name in wanted and getattr(self, name) is None:
                raise ValueError(f"the loss {self.loss} needs {name}; set it to a number")
            if name not in wanted and getattr(self, name) is not None:
                raise ValueError(f"the loss {self.loss} has no {name}; set it to null")
        if self.loss in ("orpo", "cpo") and not self.sft_weight:
            raise ValueError(f"the loss {self.loss} includes the SFT loss; set sft_weight above 0 (1 in its paper)")
        return self


class AlignConfig(Block):
    """Alignment on pairs."""

    tuning: TuningConfig
    """Adapter of reward models and of alignment on a model whose own parameters SFT trained; an SFT adapter in PEFT's
    format is continued instead."""
    dpo: PreferenceBlock
    """Settings of offline preference optimisation, by default DPO."""

    @model_validator(mode="after")
    def _adapter_of_peft(self) -> "AlignConfig":
        self.tuning.check_new_adapter()
        if not self.tuning.peft:
            raise ValueError(
                f"tuning.method is {self.tuning.method}, and alignment switches between adapters of PEFT; set it to "
                "lora (what sft trained may be of any method)"
            )
        return self


class RLConfig(Block):
    """Online reinforcement learning."""

    ppo: PPOBlock
    """Settings of proximal policy optimisation."""
    grpo: GRPOBlock
    """Settings of group relative policy optimisation."""
