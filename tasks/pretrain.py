"""Pretrain: continued pre-training on the raw text of the corpus, which by itself does not teach a model to answer.

Reads artifacts/base/, artifacts/split/ and the sources in `pretrain.mixture`; writes artifacts/pretrain/, a model, and
with the schedule WSD stable/. Not part of `make demo`: gradus run pretrain evaluate@pretrain.
Run alone: python -m tasks.pretrain
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipelines import artifacts
from pipelines.evaluation.in_training.sample import LOSS
from pipelines.models import devices, loading, saving
from pipelines.models.chat import beginning
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.release import merging
from pipelines.models.templates.stops import document_end
from pipelines.models.tuning import preparation
from pipelines.runtime.tracking import Run
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.config import PretrainConfig, TrainingConfig
from pipelines.training.examples import Example, encode_text, encode_tokens, plan_batches
from pipelines.training.fim import Sentinels, rearrange, sentinels, split_to_fit
from pipelines.training.loop import fit
from pipelines.training.mixture import Source, sample_epoch, sources
from pipelines.training.objectives import LanguageModel, mean_loss
from pipelines.training.packing import check_document_masking, pack
from pipelines.training.preflight.machine import check_training
from pipelines.training.preflight.method import check_patience
from pipelines.training.stable import stable_phase
from pipelines.training.step import Job
from pipelines.training.tuning.data import prepare
from tasks import task


def pretrain(
    base: Path,
    split: Path,
    out: Path,
    config: PretrainConfig,
    training: TrainingConfig,
    compute: ComputeConfig,
    quantised: BaseModelConfig,
    run: Run,
    checkpoints: Checkpoints,
) -> dict[str, float]:
    """Train on every token of the training documents: all weights, or an adapter that is merged into the weights.

    With `training.patience`, the held-out documents of the split are validated on.

    Raises:
        UserError: early stopping has no document to validate on.
    """
    devices.prepare(compute)
    tok = loading.tokenizer(base)
    corpus = [row["text"] for row in artifacts.read_table(split / "train.parquet")]
    mixed = sources(corpus, config.mixture, config.weights, config.fim_rates)
    rows, plan, truncated = planned(tok, mixed, config, compute.seed)
    validation = _validation(tok, split, config.block_tokens) if training.patience is not None else []
    check_patience(training, validation, split / "validation.parquet", "split.validation_share")
    stable = stable_phase("pretrain", base, out, config, training)
    training = check_training("pretrain", base, rows, plan, config, training, compute, quantised, out)
    model = preparation.trainable(base, config.tuning, compute, quantised, training.sharded)
    if config.packing:
        check_document_masking(model, "pretrain")
    tokens = sum(len(row.ids) for row in rows)
    job = Job("pretrain", config.learning_rate, config.epochs, training, compute, run, checkpoints, stable)
    objective, held_out = (LanguageModel(model, each, tok.pad_token_id) for each in (rows, validation))
    model.train()
    method = prepare(model, config.tuning, objective, plan, job, out)
    validate = (lambda _: {LOSS: mean_loss(model, held_out, compute)}) if validation else None
    history = fit(model, objective, plan, job, None, validate, method)
    if config.tuning.method == "full":
        saving.save(model, tok, out, base)
    else:
        with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
            saving.save(model, tok, Path(scratch), base)
            merging.merge(Path(scratch), out, compute)
    return {
        "loss": history.tail("loss"),
        "tokens": float(tokens),
        "steps": float(len(history.rows)),
        "truncated": float(truncated),
        "packing_efficiency": tokens / sum(len(batch) * max(len(rows[row].ids) for row in batch) for batch in plan),
        **history.chosen(),
    }


def _validation(tok: PreTrainedTokenizerBase, split: Path, length: int) -> list[Example]:
    documents = artifacts.read_table(split / "validation.parquet")
    return [piece for document in documents for piece in encode_text(tok, document["text"], length)]


def planned(
    tok: PreTrainedTokenizerBase, mixed: Sequence[Source], config: PretrainConfig, seed: int
) -> tuple[list[Example], list[list[int]], int]:
    """Return the rows of all separately packed epochs, their batches and the number of truncated texts."""
    marks = sentinels(tok) if any(source.fim_rate for source in mixed) else None
    rows: list[Example] = []
    plan: list[list[int]] = []
    truncated = 0
    for epoch in range(config.epochs):
        rng = np.random.default_rng([seed, epoch, 1])
        pieces: list[Example] = []
        for text, use_fim in sample_epoch(mixed, seed, epoch):
            parts = _pieces(tok, text, marks if use_fim else None, config.block_tokens, rng)
            truncated += len(parts) > 1
            pieces += parts
        if config.packing:
            pieces = pack(pieces, config.block_tokens)
        lengths = [len(piece.ids) for piece in pieces]
        batches = plan_batches(lengths, [1.0] * len(pieces), 1, config.batch_tokens, seed + epoch)
        plan += [[len(rows) + row for row in batch] for batch in batches]
        rows += pieces
    return rows, plan, truncated


def _pieces(
    tok: PreTrainedTokenizerBase, text: str, marks: Sentinels | None, length: int, rng: np.random.Generator
) -> list[Example]:
    if marks is None:
        return encode_text(tok, text, length)
    before, after = beginning(tok), document_end(tok)
    rearranged = [[*before, *rearrange(tok, part, marks, rng), *after] for part in split_to_fit(tok, text, length)]
    return [piece for ids in rearranged for piece in encode_tokens(ids, length)]


if __name__ == "__main__":
    with task("pretrain", parallel=True) as t:
        base, split = t.input("base"), t.input("split")
        settings, checkpoints = t.config, Checkpoints(t.place)
        t.finish(
            pretrain(
                base,
                split,
                t.out,
                settings.pretrain,
                settings.training,
                settings.compute,
                settings.base,
                t.run,
                checkpoints,
            )
        )
