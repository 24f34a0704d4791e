"""Compare: build the table of all evaluated models, and apply the gate to the candidate.

Reads artifacts/evaluate/<model>/ of every model in `evaluate.models`, artifacts/select/, artifacts/open_book/,
artifacts/best_of_n/curve.json and artifacts/curate/train.jsonl; writes artifacts/compare/ with metrics.json and plots
(PNG), and artifacts/reports/compare.html. Run alone: python -m tasks.compare
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines import artifacts
from pipelines.curation import schema
from pipelines.evaluation import comparison, gate, metrics
from pipelines.evaluation.best_of_n.curve import CURVE
from pipelines.evaluation.comparison import of
from pipelines.evaluation.config import CompareConfig
from pipelines.evaluation.report import page as html
from pipelines.evaluation.report import plots
from pipelines.evaluation.report.slices import slices
from pipelines.evaluation.retrieval.open_book import BOTH, is_asked
from pipelines.evaluation.retrieval.table import table
from pipelines.evaluation.selection import Selection, read
from tasks import task


def compare(
    evaluated: dict[str, Path],
    selection: Selection,
    opened: Path,
    sampled: Path,
    curated: Path,
    out: Path,
    page: Path,
    config: CompareConfig,
    seed: int,
) -> dict[str, float]:
    """Compare the evaluations in the folders `evaluated`, by model name; return every `<model>.<metric>`.

    `opened` holds the open-book answers, `sampled` the curve of best_of_n. The training rows in `curated` tell which
    test questions training came near to. The test questions were not used to select the candidate.
    """
    answers = {name: artifacts.read_rows(folder / "answers.jsonl") for name, folder in evaluated.items()}
    texts = {name: artifacts.read_json(folder / "scores.json")["text"] for name, folder in evaluated.items()}
    models = comparison.compare(answers, texts, config.baseline, config.resamples, config.min_clusters, seed)
    best, best_of_n = selection.candidate, artifacts.read_json(sampled / CURVE)
    checks = gate.judge(of(answers[best], "test"), of(answers[config.baseline], "test"), config.baseline, config, seed)
    result = {
        "models": models,
        "order": list(models),
        **asdict(selection),
        "open_book": _open_book(answers, (config.baseline, best), opened, config, seed),
        "slices": slices(answers, _trained(curated)),
        "best_of_n": best_of_n,
        "verdict": gate.verdict(checks),
    }
    artifacts.write_json(out / "metrics.json", result)
    plots.write(out, models, answers, best_of_n)
    page.write_text(html.page(result, answers, config), encoding="utf-8")
    return {
        f"{name}.{metric}": models[name][metric]
        for name in models
        for metric in metrics.METRICS
        if metric in models[name]
    }


def _open_book(
    answers: dict[str, list[artifacts.Row]], names: tuple[str, str], opened: Path, config: CompareConfig, seed: int
) -> dict[str, Any]:
    """Return the table of the baseline and the candidate, closed book and open book."""
    closed = {name: [row for row in answers[name] if is_asked(row["split"], row["set"])] for name in names}
    rows = {name: artifacts.read_rows(opened / f"{name}.jsonl") for name in (*names, BOTH)}
    return table(closed, rows, rows.pop(BOTH), config, seed)


def _trained(curated: Path) -> list[tuple[str, str]]:
    """Return the questions and answers of the training rows that are about a document."""
    rows = schema.read_training_rows(curated / "train.jsonl")
    return [(row.question, row.answer) for row in rows if row.source is not None]


if __name__ == "__main__":
    with task("compare") as t:
        folders = {name: t.input(f"evaluate/{name}") for name in t.config.evaluate.models}
        selection, opened, curated = read(t.input("select")), t.input("open_book"), t.input("curate")
        settings, seed, sampled = t.config.compare, t.config.compute.seed, t.input("best_of_n")
        t.finish(compare(folders, selection, opened, sampled, curated, t.out, t.report(), settings, seed))
        t.run.artifact(t.out)
        t.run.artifact(t.report())
