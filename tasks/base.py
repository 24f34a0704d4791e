"""Base: load the open base model and store it in a canonical form.

Reads the model that `base.model` names (an installed package, the Hugging Face Hub or a directory); writes
artifacts/base/ with safetensors, tokenizer and chat template. Standalone: python -m tasks.base
"""

from pathlib import Path

import torch

from pipelines.models import devices, loading, saving
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.runtime.errors import UserError
from tasks import task


def base(out: Path, config: BaseModelConfig, compute: ComputeConfig) -> dict[str, float]:
    """Store the model in bf16, or in fp32 if `compute.precision` is fp32; return its number of parameters.

    `auto` stores the same bytes on every machine, regardless of the precision used for computing.

    Raises:
        UserError: the model cannot be loaded, or its weights are quantised.
    """
    devices.prepare(compute)
    devices.warn_of_slow_training(compute)
    precision = torch.float32 if compute.precision == "fp32" else torch.bfloat16
    model, tok = loading.fetch(config, "base.model", precision)
    if getattr(model.config, "quantization_config", None) is not None:
        raise UserError(
            f"base.model {config.model!r} has quantised weights; name the 16-bit model, and quantise it by "
            "base.quantization."
        )
    saving.save_whole(model, tok, out)
    return {"parameters": float(model.num_parameters())}


if __name__ == "__main__":
    with task("base") as t:
        t.finish(base(t.out, t.config.base, t.config.compute), model=t.config.base.model)
