"""The blocks `training`, `pretrain` and `sft` of params.yaml."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipelines.block import Block, Count, LearningRate, NonNegative, Positive, Share
from pipelines.models.tuning.config import TuningConfig

VALIDATIONS = 10  # of a training, the last one after its last step

Optimizer = Literal["adamw", "adamw_8bit", "paged_adamw_8bit", "adafactor"]
Schedule = Literal["linear", "cosine", "constant", "wsd"]
Checkpointing = Annotated[Literal["auto", "on", "off"], BeforeValidator(lambda value: _SWITCH.get(str(value), value))]
_SWITCH = {"True": "on", "False": "off"}  # YAML 1.1 reads an unquoted on and off as booleans


class TrainingConfig(Block):
    """The training loop of pretrain, sft, teacher, reward and align; rl uses only `checkpointing`."""

    optimizer: Optimizer
    """`adamw`; `adamw_8bit` and `paged_adamw_8bit` (bitsandbytes) need a GPU, and a quarter of the memory for states;
    `adafactor` needs even less."""
    weight_decay: NonNegative
    """Decoupled weight decay of matrices; gains of norms and biases are not decayed."""
    schedule: Schedule
    """Learning rate after the warm-up: `linear` or `cosine` decay to zero, `constant`, or `wsd`, which decays only in
    the last share `decay` of the steps."""
    warmup: Share
    """Share of the steps with a linearly rising learning rate."""
    decay: Share
    """Share of the steps with a falling learning rate (`wsd` only)."""
    max_gradient_norm: Positive
    """Gradients with a larger norm are scaled down to it. In `rl`, the limit is always 1."""
    micro_batch_tokens: Literal["auto"] | Count
    """Tokens, with padding, that go through the model at once; a step adds the gradients of its micro-batches. `auto`
    is a whole step, on a CPU at most 4,096 tokens, and is halved when a GPU runs out of memory."""
    checkpointing: Checkpointing
    """Activation checkpointing: a third more computation for most of the memory of a micro-batch. `auto` switches it on
    if a micro-batch would not fit into the GPU's free memory, and in `rl` also if its memory is not known."""
    patience: Count | None
    """Early stopping in `sft` and `pretrain`: training stops after so many validations, of ten, that are not better by
    `criterion`, and the weights of the best are restored. null trains all steps and takes the last weights. The other
    trainings have no validations."""
    criterion: Literal["loss", "accuracy"]
    """The best validation of `sft`: that of the lowest `loss`, or with `accuracy` of the highest score (correct minus
    wrong answers to `sft.validation_questions`), ties broken by the loss. `pretrain` always uses the loss."""
    launch: Count | Path | None
    """Number of processes of pretrain, sft, reward and align, one per GPU, or an `accelerate` config file; null is
    this process. Each computes a share of every step."""
    sharded: bool
    """Whether the decoder layers of a fully fine-tuned model are sharded over the processes of `launch`, a number
    (FSDP), in pretrain and sft; otherwise each process holds the whole model."""

    @model_validator(mode="after")
    def _sharded_by_several(self) -> Self:
        if self.sharded and not isinstance(self.launch, int):
            raise ValueError(
                f"sharded is true, which needs a number of processes in launch, not {self.launch or 'null'}"
            )
        return self

    @model_validator(mode="after")
    def _decay_after_the_warmup(self) -> Self:
        if self.schedule == "wsd" and self.warmup + self.decay > 1:
            raise ValueError(
                f"warmup is {self.warmup} and decay {self.decay}; with schedule wsd their sum must be at most 1"
            )
        return self

    @property
    def shards(self) -> int:
        """The number of processes over which a model is sharded."""
        return self.launch if self.sharded and isinstance(self.launch, int) else 1


class PretrainConfig(Block):
    """Continued pre-training on raw text: the usual first step, which by itself does not teach a model to answer."""

    continue_from: Path
    """Folder with a copy of `artifacts/pretrain/stable`, which training goes on from; empty: a new training."""
    tuning: TuningConfig
    """Method of fine-tuning; its adapter is merged into the weights after training."""
    learning_rate: LearningRate
    """Peak learning rate, after a linear warm-up."""
    epochs: Count
    """Passes over the text."""
    batch_tokens: Count
    """Tokens per optimizer step."""
    block_tokens: Count
    """Length of one training sequence in tokens."""
    packing: bool
    """Pack several texts into one sequence with document masking; otherwise each text has its own padded sequence."""
    mixture: Path
    """Folder of additional texts: each .jsonl, .parquet or .txt file is a source with the file's name."""
    weights: dict[str, NonNegative]
    """Repetitions of each source per epoch, by name, without replacement within a pass; `corpus` is the documents."""
    fim_rates: dict[str, Share]
    """Share of texts of each code source that is trained with fill-in-the-middle (FIM)."""


class SFTConfig(Block):
    """Supervised fine-tuning on questions and answers."""

    init_from: Literal["base", "pretrain"]
    """Model whose weights training starts from."""
    continue_from: Path
    """Folder with a copy of `artifacts/sft/stable`, which training goes on from; empty: a new training."""
    tuning: TuningConfig
    """Method of fine-tuning (docs/tuning.md)."""
    learning_rate: LearningRate
    """Peak learning rate, after a linear warm-up."""
    epochs: Count
    """Passes over the rows."""
    batch_tokens: Count
    """Tokens per optimizer step (rows are batched by length, without packing)."""
    max_tokens: Count
    """Maximum row length in tokens; longer rows are rejected."""
    refusal_weight: NonNegative
    """Sampling weight of a refusal relative to an answer."""
    rehearsal_weight: NonNegative
    """Loss weight of a rehearsal token relative to an answer token; each row is used in one of every
    `curate.num_variants` epochs."""
    keyword_query_weight: NonNegative
    """Sampling weight of a keyword query relative to an answer; 0 trains only on the teacher's questions."""
    adapter_scale: Annotated[float, Field(gt=0, le=1)]
    """Factor on the learned update after training (weight interpolation, WiSE-FT); smaller values forget less."""
    lm_weight: NonNegative
    """Passes over the corpus as plain text per pass over the rows; 0 trains only on questions."""
    lm_tokens: Count
    """Length of one passage of plain text in tokens."""
    validation_questions: Annotated[int, Field(ge=0)]
    """Number of answerable and unanswerable validation questions, a random sample drawn by `curate`, that are asked
    closed-book at each of the ten validations; 0 measures only the loss."""

    @model_validator(mode="after")
    def _scale(self) -> "SFTConfig":
        if self.adapter_scale != 1 and not self.tuning.scalable:
            raise ValueError(
                f"adapter_scale is {self.adapter_scale}, and the update of {self.tuning.method} with these options "
                "cannot be scaled; set it to 1"
            )
        return self
