"""The blocks `compute` and `base` of params.yaml, and an adapter's."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipelines.block import Block, Count, Positive


class ComputeConfig(Block):
    """How every model runs. All of it can change a result's last digits, so all of it is a parameter."""

    seed: Annotated[int, Field(ge=0)]
    """Seeds Python, NumPy and torch before any adapter is created."""
    threads: Count
    """CPU threads of one task. Another number changes floating-point results."""
    device: Literal["auto", "cpu", "cuda"]
    """`auto` takes the GPU where there is one."""
    precision: Literal["auto", "bf16", "fp32"]
    """Of matrix products (autocast); `auto` is bf16 where the processor has instructions for it. Adapters and optimiser
    states are always float32."""


class BaseModelConfig(Block):
    """The open model everything starts from."""

    model: str
    """`package:NAME` (a GGUF file in an installed package), `hf:ORG/NAME@REVISION`, or a path."""
    chat_template: Path | None
    """A Jinja file in place of the model's own template; null keeps the model's own."""
    quantization: Literal["none", "nf4", "int8"]
    """How frozen weights are held while adapters train (QLoRA with `nf4`)."""
    trust_remote_code: bool
    """Whether code that comes with a model may run. Off unless you have read that code."""


class LoraConfig(Block):
    """Low-rank adapters (Hu et al. 2021)."""

    rank: Count
    """Rank of the update; more learns more and forgets more."""
    alpha: Positive
    """Scale: the update is multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """On the adapter's input."""
