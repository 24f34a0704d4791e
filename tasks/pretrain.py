"""Pretrain: continue pre-training on the raw text of the corpus. Alone it teaches no answers; this task shows it.

Reads artifacts/base/, artifacts/split/ and the sources in `pretrain.mixture`; writes artifacts/pretrain/, a model.
Not part of `make demo`: gradus run pretrain evaluate@pretrain. Alone: python -m tasks.pretrain
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipelines import artifacts
from pipelines.models import devices, loading
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.runtime.tracking import Run
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.config import PretrainConfig
from pipelines.training.examples import Example, encode_text, encode_tokens, plan_batches
from pipelines.training.fim import Sentinels, fitting, rearranged, sentinels
from pipelines.training.mixture import Source, drawn, sources
from pipelines.training.packing import keep_apart, pack
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
    devices.prepare(compute)
    tok = loading.tokenizer(base)
    corpus = [row["text"] for row in artifacts.read_table(split / "train.parquet")]
    found = sources(corpus, config.mixture, config.weights, config.fim_rates)
    model = loading.adaptable(base, config.lora, compute, quantised)
    if config.packing:
        keep_apart(model, "pretrain")
    rows, plan, cut = planned(tok, found, config, compute.seed)
    tokens = sum(len(row.ids) for row in rows)
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
        epochs=config.epochs,
    )
    with tempfile.TemporaryDirectory() as scratch:
        loading.save_adapter(model, tok, Path(scratch))
        loading.save_merged(loading.load(Path(scratch), compute), tok, out)
    return {
        "loss": loss,
        "tokens": float(tokens),
        "steps": float(len(plan)),
        "cut": float(cut),
        "fill": tokens / sum(len(batch) * max(len(rows[row].ids) for row in batch) for batch in plan),
    }


def planned(
    tok: PreTrainedTokenizerBase, found: Sequence[Source], config: PretrainConfig, seed: int
) -> tuple[list[Example], list[list[int]], int]:
    """Return the rows of all epochs, batches of them, and how many texts were cut; each epoch draws and packs anew."""
    marks = sentinels(tok) if any(source.middle for source in found) else None
    rows: list[Example] = []
    plan: list[list[int]] = []
    cut = 0
    for epoch in range(config.epochs):
        rng = np.random.default_rng([seed, epoch, 1])
        pieces: list[Example] = []
        for text, middle in drawn(found, seed, epoch):
            parts = _pieces(tok, text, marks if middle else None, config.block_tokens, rng)
            cut += len(parts) > 1
            pieces += parts
        if config.packing:
            pieces = pack(pieces, config.block_tokens)
        lengths = [len(piece.ids) for piece in pieces]
        batches = plan_batches(lengths, [1.0] * len(pieces), 1, config.batch_tokens, seed + epoch)
        plan += [[len(rows) + row for row in batch] for batch in batches]
        rows += pieces
    return rows, plan, cut


def _pieces(
    tok: PreTrainedTokenizerBase, text: str, marks: Sentinels | None, length: int, rng: np.random.Generator
) -> list[Example]:
    if marks is None:
        return encode_text(tok, text, length)
    turned = [rearranged(tok, part, marks, rng) for part in fitting(tok, text, length)]
    return [piece for ids in turned for piece in encode_tokens(ids, length)]


if __name__ == "__main__":
    with task("pretrain") as t:
        base, split = t.input("base"), t.input("split")
        settings, kept = t.config, Checkpoints(t.place)
        t.finish(pretrain(base, split, t.out, settings.pretrain, settings.compute, settings.base, t.run, kept))
