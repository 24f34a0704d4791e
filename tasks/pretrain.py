"""Pretrain: continue pre-training on the raw text of the corpus. Alone it teaches no answers; this task shows it.

Reads artifacts/base/ and artifacts/split/; writes artifacts/pretrain/, a whole model. Not part of `make demo`:
gradus run pretrain evaluate@pretrain. Alone: python -m tasks.pretrain
"""

import tempfile
from pathlib import Path

from pipelines import artifacts, models
from pipelines.checkpoints import Checkpoints
from pipelines.config import BaseModelConfig, ComputeConfig, PretrainConfig
from pipelines.tracking import Run
from pipelines.training.rows import encode_text, plan_batches
from pipelines.training.trainer import train
from tasks import task


def pretrain(
    base: Path,
    split: Path,
    out: Path,
    config: PretrainConfig,
    compute: ComputeConfig,
    quantised: BaseModelConfig,
    run: Run,
    checkpoints: Checkpoints,
) -> dict[str, float]:
    """Train an adapter on every token of the training documents and merge it into the weights."""
    models.prepare(compute)
    tok = models.tokenizer(base)
    documents = artifacts.read_table(split / "train.parquet")
    rows = [piece for document in documents for piece in encode_text(tok, document["text"], config.block_tokens)]
    lengths = [len(row.ids) for row in rows]
    plan = plan_batches(lengths, [1.0] * len(rows), config.epochs, config.batch_tokens, compute.seed)
    model = models.adaptable(base, config.lora, compute, quantised)
    loss = train(
        model,
        tok,
        rows,
        plan,
        learning_rate=config.learning_rate,
        compute=compute,
        run=run,
        what="pretrain",
        checkpoints=checkpoints,
    )
    with tempfile.TemporaryDirectory() as scratch:
        models.save_adapter(model, tok, Path(scratch))
        models.save_merged(models.load(Path(scratch), compute), tok, out)
    return {"loss": loss, "tokens": float(sum(lengths)), "steps": float(len(plan))}


if __name__ == "__main__":
    with task("pretrain") as t:
        base, split = t.input("base"), t.input("split")
        settings, kept = t.config, Checkpoints(t.place)
        t.finish(pretrain(base, split, t.out, settings.pretrain, settings.compute, settings.base, t.run, kept))
