"""The blocks `pretrain` and `sft` of params.yaml."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipelines.block import Block, Count, LearningRate, NonNegative, Share
from pipelines.models.config import LoraConfig


class PretrainConfig(Block):
    """Continued pre-training on raw text: what the field does first, and what alone teaches no answers."""

    lora: LoraConfig
    """The adapter; merged into the weights when done."""
    learning_rate: LearningRate
    """Peak, after a linear warm-up."""
    epochs: Count
    """Passes over the text."""
    batch_tokens: Count
    """Tokens in one optimiser step."""
    block_tokens: Count
    """Length of one training sequence."""
    packing: bool
    """Whether several texts share a sequence, kept apart; without it each has its own, and padding."""
    mixture: Path
    """A folder of other texts: each .jsonl, .parquet or .txt file is a source, named after it."""
    weights: dict[str, NonNegative]
    """Of how many times its texts an epoch reads each source, none again before all; `corpus` is the documents."""
    fim_rates: dict[str, Share]
    """Of a source of code, the share of texts that is read with its middle last."""


class SFTConfig(Block):
    """Supervised fine-tuning on questions and answers."""

    init_from: Literal["base", "pretrain"]
    """Whose weights it starts from."""
    lora: LoraConfig
    """The adapter."""
    learning_rate: LearningRate
    """Peak, after a linear warm-up."""
    epochs: Count
    """Passes over the rows."""
    batch_tokens: Count
    """Tokens in one optimiser step (rows are batched by length, without packing)."""
    max_tokens: Count
    """A longer row is rejected."""
    refusal_weight: NonNegative
    """How often a refusal is shown for one showing of an answer."""
    rehearsal_weight: NonNegative
    """What a token of rehearsal counts in the loss, for one of an answer; each row is shown in one epoch of
    `curate.num_variants`."""
    keyword_query_weight: NonNegative
    """How often a cue is shown for one showing of an answer; 0 is the teacher's questions alone."""
    adapter_scale: Annotated[float, Field(gt=0, le=1)]
    """How much of the learnt update is kept in the end; less forgets less of what the model knew before."""
    lm_weight: NonNegative
    """Passes over the corpus as plain text, mixed in, for one pass over the rows; 0 is questions alone."""
    lm_tokens: Count
    """Length of one passage of plain text."""
