"""Align: train a model on preference pairs with DPO, or another loss on pairs; one row of `alignment.align`.

Reads the row's pairs and policy, and artifacts/base; writes an adapter to artifacts/align/<row>.
Standalone: python -m tasks.align dpo
"""

import sys
from pathlib import Path

from pipelines.alignment.backbone import Backbone
from pipelines.alignment.config import PreferenceBlock
from pipelines.alignment.offline import preference
from pipelines.alignment.preferences.online_prompts import ONLINE_HELD_OUT
from pipelines.alignment.sequences import as_rows, encode_pairs
from pipelines.curation.schema import TrainingRow, read_pairs, read_training_rows
from pipelines.models import adapters, devices, loading, saving
from pipelines.models.chat import encode_prompt
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.tracking import Run
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.config import TrainingConfig
from pipelines.training.monitoring.samples import COLUMNS, NEW_TOKENS, QUESTIONS, TABLE, greedy_answers, table_rows
from pipelines.training.preflight.machine import check_adapter
from pipelines.training.step import Job
from tasks import task


def align(
    pairs: Path,
    policy: Path,
    out: Path,
    config: PreferenceBlock,
    training: TrainingConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
    run: Run,
    checkpoints: Checkpoints,
    tuning: TuningConfig | None = None,
) -> dict[str, float]:
    """Train on the pairs with the loss `config.loss` and write the adapter; return the metrics of the last steps.

    Answers to some held-out prompts of online training are logged as a table, as `rl` does.
    If `policy` has no adapter in PEFT's format, `tuning` configures a new one; otherwise it is trained on.

    Raises:
        UserError: the training cannot run on this machine, or the policy cannot be trained on.
    """
    tok = loading.tokenizer(policy)
    encoded = encode_pairs(tok, read_pairs(pairs / "train.jsonl"))
    items = [as_rows(pair, predicted=True) for pair in encoded] * config.epochs
    plan = preference.planned(encoded, config, compute.seed)
    training = check_adapter("align.dpo", policy, items, plan, tuning, training, compute, base, out)
    backbone = Backbone(preparation.peft_adaptable(policy, tuning, compute, base), tok, compute)
    job = Job("align.dpo", config.learning_rate, config.epochs, training, compute, run, checkpoints)
    metrics = preference.train(backbone, encoded, config, job, None if adapters.continued(policy) else tuning)
    saving.save_adapter(backbone.model, tok, out)
    _log_answers(backbone, read_training_rows(pairs / ONLINE_HELD_OUT)[:QUESTIONS], int(metrics["steps"]), run)
    return metrics


def _log_answers(backbone: Backbone, rows: list[TrainingRow], step: int, run: Run) -> None:
    prompts = [encode_prompt(backbone.tok, row.messages[:-1]) for row in rows]
    found = greedy_answers(backbone.model, backbone.tok, prompts, NEW_TOKENS, backbone.compute)
    answers = [(row.question, row.answer, answer) for row, answer in zip(rows, found, strict=True)]
    run.table(TABLE, table_rows(step, answers), COLUMNS)


def main(name: str) -> None:
    """Train the model of a row of `alignment.align`."""
    with task("align", name, parallel=True) as t:
        settings, row = t.config, t.config.alignment.align[name]
        devices.prepare(settings.compute)
        t.finish(
            align(
                t.input(f"pairs/{row.pairs}"),
                t.input(row.policy),
                t.out,
                settings.offline(name),
                settings.training,
                settings.compute,
                settings.base,
                t.run,
                Checkpoints(t.place),
                settings.align.tuning,
            )
        )


if __name__ == "__main__":
    main(sys.argv[1])
