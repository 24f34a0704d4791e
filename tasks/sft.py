"""SFT: fine-tune on questions and answers, refusals, rehearsal, and optionally passages of the corpus.

Reads artifacts/curate/, artifacts/split/ and the model of `sft.init_from`; writes artifacts/sft/, an adapter (a whole
model with `full`), preview.md, and with the schedule WSD stable/. Standalone: python -m tasks.sft
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from pipelines import artifacts
from pipelines.curation.schema import RowKind, TrainingRow, read_training_rows
from pipelines.evaluation.in_training import sample
from pipelines.evaluation.in_training.sample import LOSS
from pipelines.models import devices, loading, saving
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.tuning import preparation
from pipelines.runtime.errors import UserError
from pipelines.runtime.tracking import Run
from pipelines.training import preview
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.config import SFTConfig, TrainingConfig
from pipelines.training.examples import Example, encode_chat, encode_text, plan_batches
from pipelines.training.loop import fit
from pipelines.training.monitoring.closed_book import ClosedBook
from pipelines.training.monitoring.samples import Samples
from pipelines.training.objectives import LanguageModel, Preserved, mean_loss
from pipelines.training.preflight.machine import check_training
from pipelines.training.preflight.method import check_patience
from pipelines.training.stable import stable_phase
from pipelines.training.step import Job
from pipelines.training.tuning.data import prepare
from tasks import task

PREVIEW = "preview.md"
"""Share of learnt tokens, rejected rows, and three rows with their mask."""


def sft(
    start: Path,
    curated: Path,
    split: Path,
    out: Path,
    config: SFTConfig,
    training: TrainingConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
    run: Run,
    checkpoints: Checkpoints,
) -> dict[str, float]:
    """Train by a method on the curated rows and passages, with a loss on answers, passages and rehearsal.

    Raises:
        UserError: no row is short enough, the method does not fit the model, early stopping has no validation rows, or
            `curate` has not drawn the questions that are to be asked.
    """
    devices.prepare(compute)
    tok = loading.tokenizer(start)
    curated_rows = read_training_rows(curated / "train.jsonl")
    encoded = preview.encoded(tok, curated_rows, curated / "train.jsonl")
    chats = [pair for pair in zip(curated_rows, encoded, strict=True) if len(pair[1].ids) <= config.max_tokens]
    if not chats:
        raise UserError(
            f"{curated}/train.jsonl has no row of at most sft.max_tokens = {config.max_tokens} tokens; raise it."
        )
    passages = _passages(split, tok, config.lm_tokens) if config.lm_weight else []
    rows = [tokens for _, tokens in chats] + passages
    plan = planned([row for row, _ in chats], [len(row.ids) for row in rows], config, compute.seed)
    (out / PREVIEW).write_text(preview.describe(tok, curated_rows, encoded, config.max_tokens), encoding="utf-8")
    run.artifact(out / PREVIEW)
    held_out = read_training_rows(curated / "validation.jsonl")
    validation = [encode_chat(tok, row.messages) for row in held_out]
    asked = sample.read(curated, config.validation_questions) if config.validation_questions else None
    check_patience(training, validation, curated / "validation.jsonl", "curate.validation_share")
    stable = stable_phase("sft", start, out, config, training)
    training = check_training("sft", start, rows, plan, config, training, compute, base, out)
    before = _preserved(start, rows, tok.pad_token_id, compute) if config.tuning.selects else None
    model = preparation.trainable(start, config.tuning, compute, base, training.sharded)
    objective = LanguageModel(model, rows, tok.pad_token_id, config.rehearsal_weight, before)
    held_back = LanguageModel(model, validation, tok.pad_token_id)
    closed_book = None if asked is None else ClosedBook(model, tok, asked, compute)
    validate = partial(_validated, Samples(model, tok, held_out, compute, run), held_back, closed_book)
    job = Job("sft", config.learning_rate, config.epochs, training, compute, run, checkpoints, stable)
    method = prepare(model, config.tuning, objective, plan, job, out)
    model.train()
    history = fit(model, objective, plan, job, None, validate if validation or asked else None, method)
    saving.keep_share(model, config.adapter_scale, start)
    saving.save(model, tok, out, start)
    return {
        "loss": history.tail("loss"),
        "validation_loss": mean_loss(model, held_back, compute),
        "learnt_share": preview.learnt_share(rows),
        "rows": float(len(chats)),
        "passages": float(len(passages)),
        "too_long": float(len(encoded) - len(chats)),
        "steps": float(len(history.rows)),
        **history.chosen(),
    }


def _preserved(start: Path, rows: Sequence[Example], pad: int, compute: ComputeConfig) -> Preserved | None:
    """Return what the model in `start` predicts in the rehearsed rows; None if there are none."""
    if not any(row.rehearsed for row in rows):
        return None
    return Preserved.of(preparation.frozen(start, compute), rows, pad, compute)


def _validated(
    samples: Samples, held_back: LanguageModel, closed_book: ClosedBook | None, step: int
) -> dict[str, float]:
    """Log sample answers after `step`, and return the validation loss and the closed-book metrics."""
    samples.log(step)
    measured = {LOSS: mean_loss(samples.model, held_back, samples.compute)} if held_back.rows else {}
    return measured if closed_book is None else {**measured, **closed_book.measure()}


def planned(chats: list[TrainingRow], lengths: list[int], config: SFTConfig, seed: int) -> list[list[int]]:
    """Plan the batches of all epochs. `chats` come first in `lengths`, then passages of text.

    Each epoch uses one variant, cyclically: the rows of that variant, and those that belong to all.
    """
    weights = {
        RowKind.ANSWER: 1.0,
        RowKind.REFUSAL: config.refusal_weight,
        RowKind.REHEARSAL: 1.0,
        RowKind.TASK: 1.0,
        RowKind.KEYWORD_QUERY: config.keyword_query_weight,
        RowKind.KEYWORD_QUERY_REFUSAL: config.keyword_query_weight,
    }
    weight = [weights[row.kind] for row in chats] + [config.lm_weight] * (len(lengths) - len(chats))
    variant = [row.variant for row in chats] + [None] * (len(lengths) - len(chats))
    num_variants = 1 + max((number for number in variant if number is not None), default=0)
    plan: list[list[int]] = []
    for epoch in range(config.epochs):
        used = [row for row, number in enumerate(variant) if number is None or number == epoch % num_variants]
        batches = plan_batches(
            [lengths[row] for row in used], [weight[row] for row in used], 1, config.batch_tokens, seed + epoch
        )
        plan += [[used[index] for index in batch] for batch in batches]
    return plan


def _passages(split: Path, tok: PreTrainedTokenizerBase, length: int) -> list[Example]:
    documents = artifacts.read_table(split / "train.parquet")
    return [piece for document in documents for piece in encode_text(tok, document["text"], length)]


if __name__ == "__main__":
    with task("sft", parallel=True) as t:
        start = t.input(t.config.sft.init_from)
        curated, split = t.input("curate"), t.input("split")
        settings, checkpoints = t.config, Checkpoints(t.place)
        t.finish(
            sft(
                start,
                curated,
                split,
                t.out,
                settings.sft,
                settings.training,
                settings.compute,
                settings.base,
                t.run,
                checkpoints,
            )
        )
