"""The blocks `compute` and `base` of params.yaml."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipelines.block import Block, Count

Quantization = Literal["none", "nf4", "int8"]
"""How frozen weights are stored."""


class ComputeConfig(Block):
    """Compute settings of every model. Each can change the last digits of a result, so each is a parameter."""

    seed: Annotated[int, Field(ge=0)]
    """Seeds Python, NumPy and torch before any adapter is created."""
    threads: Count
    """CPU threads per task. Changing it changes floating-point results."""
    device: Literal["auto", "cpu", "cuda"]
    """Device; `auto` uses a GPU if available."""
    precision: Literal["auto", "bf16", "fp32"]
    """Precision of matrix products (autocast); `auto` is bf16 where it is faster: on GPUs, and on CPUs with AMX
    or, other than Intel's, with bf16 instructions. Adapters and optimiser states are always float32."""


class BaseModelConfig(Block):
    """The open base model."""

    model: str
    """`package:NAME` (a GGUF file in an installed package), `hf:ORG/NAME@REVISION`, or a path."""
    chat_template: Path | None
    """A Jinja file that replaces the model's chat template; null keeps the model's template."""
    thinking: bool
    """Whether answers begin with a chain of thought; only for a chat template with a switch for it."""
    quantization: Quantization
    """Quantization of the frozen weights while adapters are trained (QLoRA with `nf4`), sampled and evaluated."""
    trust_remote_code: bool
    """Whether code shipped with a model may run. Keep it off unless you have reviewed that code."""
