"""Evaluate: ask one model every question, closed-book, and score the held-out text.

Reads the model's directory (`evaluate.models`), data/questions/ and artifacts/split/test.parquet; writes
artifacts/evaluate/<model>/ with answers.jsonl (every question with its answer and verdict) and scores.json (the metrics
of each split, and the bits of each document), and artifacts/plots/evaluate@<model>.csv with the verdict of each test
question. Run alone: python -m tasks.evaluate sft
"""

import sys
from collections import Counter
from pathlib import Path

from pipelines import artifacts
from pipelines.evaluation import harness, questions, scoring
from pipelines.evaluation.asking import ask
from pipelines.evaluation.comparison import values
from pipelines.evaluation.config import EvaluateConfig
from pipelines.evaluation.metrics import units
from pipelines.models import devices, loading
from pipelines.models.config import ComputeConfig
from pipelines.runtime.errors import UserError
from tasks import task

LOGGED_COLUMNS = ("split", "set", "question", "answer", "verdict", "accepted", "id")
"""Columns of answers.jsonl in the run's MLflow table."""


def evaluate(
    model: Path, documents: Path, out: Path, config: EvaluateConfig, compute: ComputeConfig, refusal: str
) -> dict[str, float]:
    """Ask `model`, judge its answers, score `documents`; return the test metrics and the verdict counts.

    `refusal` is the sentence that models are fine-tuned to refuse with.
    """
    devices.prepare(compute)
    asked = questions.load(config.questions)
    loaded, tok = loading.load(model, compute), loading.tokenizer(model)
    rows = ask(loaded, tok, asked, config, refusal)
    artifacts.write_rows(out / "answers.jsonl", rows)
    text = harness.text_bits(loaded, tok, documents, config.bits_per_byte_tokens)
    scores = {split: values(units([row for row in rows if row["split"] == split])) for split in questions.SPLITS}
    scores["test"] |= values(units([], text))
    artifacts.write_json(out / "scores.json", {**scores, "text": text})
    counts = Counter((row["set"], row["verdict"]) for row in rows if row["split"] == "test")
    verdict_counts = {
        f"{name}.{verdict}": float(counts[name, verdict]) for name in questions.SETS for verdict in scoring.VERDICTS
    }
    return {**scores["test"], **verdict_counts}


def outcomes(evaluated: Path) -> list[artifacts.Row]:
    """Return set, kind and verdict of every test question, for `dvc plots`."""
    rows = artifacts.read_rows(evaluated / "answers.jsonl")
    return [{key: row[key] for key in ("set", "kind", "verdict")} for row in rows if row["split"] == "test"]


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
        model = t.input(directory(sys.argv[1], t.config.evaluate))
        documents = t.input("split") / "test.parquet"
        t.finish(evaluate(model, documents, t.out, t.config.evaluate, t.config.compute, t.config.curate.refusal))
        t.run.table("answers.json", artifacts.read_rows(t.out / "answers.jsonl"), LOGGED_COLUMNS)
        artifacts.write_csv(artifacts.PLOTS / f"{t.stage}.csv", outcomes(t.out))
