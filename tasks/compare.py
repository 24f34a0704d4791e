"""Compare: build the table of all evaluated models, and apply the gate to the candidate.

Reads artifacts/evaluate/<model>/ of every model in `evaluate.models`, artifacts/select/, artifacts/calibrate/,
artifacts/open_book/, artifacts/best_of_n/ and artifacts/curate/train.jsonl; writes artifacts/compare/ with metrics.json
and plots (PNG), and artifacts/reports/compare.html. Run alone: python -m tasks.compare
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.curation import schema
from pipelines.evaluation import comparison, gate, metrics
from pipelines.evaluation.best_of_n.curve import CURVE
from pipelines.evaluation.comparison import of
from pipelines.evaluation.confidence import calibration
from pipelines.evaluation.config import CompareConfig
from pipelines.evaluation.report import page as html
from pipelines.evaluation.report import plots
from pipelines.evaluation.report.slices import slices
from pipelines.evaluation.retrieval.open_book import BOTH, is_asked
from pipelines.evaluation.retrieval.table import table
from pipelines.evaluation.selection import read
from tasks import task


@dataclass(frozen=True)
class Inputs:
    """Directories in artifacts/ that are compared."""

    evaluated: dict[str, Path]
    """The evaluations by model name."""
    select: Path
    calibrate: Path
    open_book: Path
    best_of_n: Path
    curate: Path
    """Its training rows tell which test questions training came near to."""


def compare(inputs: Inputs, out: Path, page: Path, config: CompareConfig, seed: int) -> dict[str, float]:
    """Compare all models, and judge the candidate; return every `<model>.<metric>`.

    The test questions, on which everything is measured here, were not used to select the candidate.
    """
    answers = {name: artifacts.read_rows(folder / "answers.jsonl") for name, folder in inputs.evaluated.items()}
    texts = {name: artifacts.read_json(folder / "scores.json")["text"] for name, folder in inputs.evaluated.items()}
    models = comparison.compare(answers, texts, config.baseline, config.resamples, config.min_clusters, seed)
    selection, best_of_n = read(inputs.select), artifacts.read_json(inputs.best_of_n / CURVE)
    best = selection.candidate
    checks = gate.judge(of(answers[best], "test"), of(answers[config.baseline], "test"), config.baseline, config, seed)
    confidence = artifacts.read_json(inputs.calibrate / calibration.CONFIDENCE)
    curve = artifacts.read_rows(inputs.calibrate / calibration.RISK_COVERAGE)
    result = {
        "models": models,
        "order": list(models),
        **asdict(selection),
        "open_book": _open_book(answers, (config.baseline, best), inputs, config, seed),
        "confidence": confidence,
        "slices": slices(answers, _trained(inputs.curate)),
        "best_of_n": best_of_n,
        "verdict": gate.verdict(checks),
    }
    artifacts.write_json(out / "metrics.json", result)
    plots.write(out, models, answers, best_of_n, curve, confidence["certificate"]["threshold"])
    page.write_text(html.page(result, answers, curve, config), encoding="utf-8")
    return {
        f"{name}.{metric}": models[name][metric]
        for name in models
        for metric in metrics.METRICS
        if metric in models[name]
    }


def _open_book(
    answers: dict[str, list[Row]], names: tuple[str, str], inputs: Inputs, config: CompareConfig, seed: int
) -> dict[str, Any]:
    """Return the table of the ways of answering: closed book, open book, both, abstaining."""
    closed = {name: [row for row in answers[name] if is_asked(row["split"], row["set"])] for name in names}
    rows = {name: artifacts.read_rows(inputs.open_book / f"{name}.jsonl") for name in (*names, BOTH)}
    threshold = artifacts.read_json(inputs.calibrate / calibration.CONFIDENCE)["certificate"]["threshold"]
    stored = artifacts.read_rows(inputs.calibrate / calibration.CONFIDENCES)
    confidence = {row["id"]: row["confidence"] for row in stored}
    abstaining = None if threshold is None else calibration.abstaining(closed[names[-1]], confidence, threshold)
    return table(closed, rows, rows.pop(BOTH), abstaining, config, seed)


def _trained(curated: Path) -> list[tuple[str, str]]:
    """Return the questions and answers of the training rows that are about a document."""
    rows = schema.read_training_rows(curated / "train.jsonl")
    return [(row.question, row.answer) for row in rows if row.source is not None]


if __name__ == "__main__":
    with task("compare") as t:
        others = {name: t.input(name) for name in ("select", "calibrate", "open_book", "best_of_n", "curate")}
        inputs = Inputs({name: t.input(f"evaluate/{name}") for name in t.config.evaluate.models}, **others)
        t.finish(compare(inputs, t.out, t.report(), t.config.compare, t.config.compute.seed))
        t.run.artifact(t.out)
        t.run.artifact(t.report())
