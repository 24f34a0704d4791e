"""Combine: several LoRA adapters of data/adapters/ combined into one by weights.

Reads artifacts/base/ and data/adapters/; writes artifacts/combine/, a LoRA adapter whose record has the origins of the
combined ones. Not part of a whole run unless it
is evaluated: gradus run combine evaluate@combine. Run alone: python -m tasks.combine
"""

from pathlib import Path

from pipelines.models import devices, loading, saving
from pipelines.models.config import ComputeConfig
from pipelines.models.task_adapters import combination, interference, store
from pipelines.models.task_adapters.config import CombineConfig
from tasks import task


def combine(base: Path, out: Path, config: CombineConfig, compute: ComputeConfig) -> dict[str, float]:
    """Combine the adapters, and measure how much they interfere.

    Raises:
        UserError: no adapter is named, or the named ones cannot be combined by the method.
    """
    devices.prepare(compute)
    found, kind = combination.load(config, base)
    combined = combination.combined(found, config, compute)
    factors = {name.removesuffix(".weight"): (update.down, update.up) for name, update in combined.items()}
    saving.save_lora(factors, base, kind, out)
    loading.tokenizer(base).save_pretrained(out)
    return interference.metrics(found, combined, compute)


if __name__ == "__main__":
    with task("combine") as t:
        metrics = combine(t.input("base"), t.out, t.config.combine, t.config.compute)
        t.finish(metrics, origins=store.origins(t.config.combine.adapters))
