"""Evaluate: ask one model the validation questions, closed-book, and score the held-out text.

Reads the model's directory (`evaluate.models`), data/questions/, the held-out and the training documents of
artifacts/split/ and, with `evaluate.judge`, data/labels/; writes artifacts/evaluate/<model>/ with answers.jsonl (every
validation question with its answer, its verdict and its invented entities) and scores.json (the hash of the weights and
the bits of each document), and artifacts/plots/evaluate@<model>.csv with the verdict of each question. The test
questions are left to the stage `test`. Run alone: python -m tasks.evaluate sft
"""

import sys
from pathlib import Path

from pipelines import artifacts
from pipelines.evaluation import harness, questions
from pipelines.evaluation.asking import ask, verdict_counts
from pipelines.evaluation.comparison import values
from pipelines.evaluation.config import EvaluateConfig
from pipelines.evaluation.metrics import units
from pipelines.evaluation.verdicts.invented import Corpus, with_invented
from pipelines.evaluation.verdicts.judge import Judge, calibrated
from pipelines.models import adapters, devices, loading
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.runtime.errors import UserError
from tasks import task

LOGGED_COLUMNS = ("split", "set", "question", "answer", "verdict", "accepted", "id")
"""Columns of answers.jsonl in the run's MLflow table."""


def evaluate(
    model: Path,
    split: Path,
    out: Path,
    config: EvaluateConfig,
    compute: ComputeConfig,
    refusal: str,
    judge: Judge | None = None,
    base: BaseModelConfig | None = None,
) -> dict[str, float]:
    """Ask `model`, judge its answers, score held-out documents; return the metrics and the verdict counts.

    `split` holds the held-out documents (test.parquet) and the training corpus (train.parquet); `refusal` is the
    sentence that models are fine-tuned to refuse with. A whole model is quantised as `base` says.
    """
    devices.prepare(compute)
    asked = questions.of_split(questions.VALIDATION, config.questions, config.limit)
    loaded, tok = loading.load(model, compute, base), loading.tokenizer(model)
    rows = ask(loaded, tok, asked, config, refusal, judge)
    corpus = Corpus([row["text"] for row in artifacts.read_table(split / "train.parquet")])
    rows = with_invented(rows, corpus)
    artifacts.write_rows(out / "answers.jsonl", rows)
    text = harness.text_bits(loaded, tok, split / "test.parquet", config.bits_per_byte_tokens)
    artifacts.write_json(out / "scores.json", {"weights": adapters.identity(model), "text": text})
    return {**values(units(rows, text)), **verdict_counts(rows)}


def outcomes(evaluated: Path) -> list[artifacts.Row]:
    """Return set, kind and verdict of every question, for `dvc plots`."""
    rows = artifacts.read_rows(evaluated / "answers.jsonl")
    return [{key: row[key] for key in ("set", "kind", "verdict")} for row in rows]


def directory(name: str, config: EvaluateConfig) -> str:
    """Return the directory in artifacts/ of the model `name`.

    Raises:
        UserError: `evaluate.models` has no such name.
    """
    if name not in config.models:
        raise UserError(f"evaluate.models has no {name!r}; it has {', '.join(config.models)}.")
    return config.models[name]


if __name__ == "__main__":
    with task("evaluate", sys.argv[1]) as t:
        model, settings = t.input(directory(sys.argv[1], t.config.evaluate)), t.config
        judge, agreement = calibrated(settings) or (None, None)
        metrics = evaluate(
            model,
            t.input("split"),
            t.out,
            settings.evaluate,
            settings.compute,
            settings.curate.refusal,
            judge,
            settings.base,
        )
        t.finish(metrics if agreement is None else {**metrics, "judge_agreement": agreement})
        t.run.table("answers.json", artifacts.read_rows(t.out / "answers.jsonl"), LOGGED_COLUMNS)
        artifacts.write_csv(artifacts.PLOTS / f"{t.stage}.csv", outcomes(t.out))
