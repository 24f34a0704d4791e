"""The blocks `pretrain` and `sft` of params.yaml."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipelines.block import Block, Count, LearningRate, NonNegative, Share
from pipelines.models.config import LoraConfig


class PretrainConfig(Block):
    """Continued pre-training on raw text: the usual first step, which by itself does not teach a model to answer."""

    lora: LoraConfig | None
    """LoRA adapter, merged into the weights after training; null trains all weights."""
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
    lora: LoraConfig | None
    """LoRA adapter; null trains all weights, without rehearsal."""
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
