"""Base: find the open model everything starts from, and store it in one form.

Reads the model that `base.model` names (an installed package, a hub, a directory); writes artifacts/base/ with
safetensors, tokenizer and chat template. Alone: python -m tasks.base
"""

from pathlib import Path

from pipelines import models
from pipelines.config import BaseModelConfig, ComputeConfig
from tasks import task


def base(out: Path, config: BaseModelConfig, compute: ComputeConfig) -> dict[str, float]:
    """Store the model in the type that products are computed in; return its size."""
    models.prepare(compute)
    model, tok = models.fetch(config, "base.model")
    models.save_merged(model.to(models.dtype(compute)), tok, out)
    return {"parameters": float(model.num_parameters())}


if __name__ == "__main__":
    with task("base") as t:
        t.finish(base(t.out, t.config.base, t.config.compute), model=t.config.base.model)
