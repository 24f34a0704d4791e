"""Compare: build the table of all evaluated models, select the candidate and apply the gate.

Reads artifacts/evaluate/<model>/ of every model in `evaluate.models` and artifacts/curate/train.jsonl; writes
artifacts/compare/ with metrics.json and plots (PNG), and artifacts/reports/compare.html.
Run alone: python -m tasks.compare
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pipelines import artifacts
from pipelines.curation import schema
from pipelines.evaluation import comparison, gate, metrics
from pipelines.evaluation.comparison import of
from pipelines.evaluation.config import CompareConfig
from pipelines.evaluation.report import page as html
from pipelines.evaluation.report import plots
from pipelines.evaluation.report.slices import slices
from pipelines.evaluation.selection import select
from pipelines.runtime.errors import UserError
from tasks import task


def compare(
    evaluated: dict[str, Path], curated: Path, out: Path, page: Path, config: CompareConfig, seed: int
) -> dict[str, float]:
    """Compare the evaluations in the folders `evaluated`, by model name; return every `<model>.<metric>`.

    The training rows in `curated` tell which test questions training came near to.
    The validation questions select the candidate; everything else is on the test questions.
    """
    answers = {name: artifacts.read_rows(folder / "answers.jsonl") for name, folder in evaluated.items()}
    texts = {name: artifacts.read_json(folder / "scores.json")["text"] for name, folder in evaluated.items()}
    models = comparison.compare(answers, texts, config.baseline, config.resamples, config.min_clusters, seed)
    selection = select(answers, config, seed)
    best = selection.candidate
    checks = gate.judge(of(answers[best], "test"), of(answers[config.baseline], "test"), config.baseline, config, seed)
    result = {
        "models": models,
        "order": list(models),
        **asdict(selection),
        "slices": slices(answers, _trained(curated)),
        "verdict": gate.verdict(checks),
    }
    artifacts.write_json(out / "metrics.json", result)
    plots.write(out, models, answers)
    page.write_text(html.page(result, answers, config), encoding="utf-8")
    return {
        f"{name}.{metric}": models[name][metric]
        for name in models
        for metric in metrics.METRICS
        if metric in models[name]
    }


def _trained(curated: Path) -> list[tuple[str, str]]:
    """Return the questions and answers of the training rows that are about a document."""
    rows = schema.read_training_rows(curated / "train.jsonl")
    return [(row.question, row.answer) for row in rows if row.source is not None]


def check_leftovers(models: Iterable[str]) -> None:
    """Check that only `models` have evaluations, because the DVC stage depends on the whole folder.

    Raises:
        UserError: another model has an evaluation.
    """
    folder = artifacts.ARTIFACTS / "evaluate"
    if leftovers := sorted({each.name for each in folder.iterdir()} - set(models)):
        raise UserError(
            f"{folder} holds {leftovers[0]}, which evaluate.models in params.yaml does not name; remove it "
            "(`gradus run` does so automatically)."
        )


if __name__ == "__main__":
    with task("compare") as t:
        folders = {name: t.input(f"evaluate/{name}") for name in t.config.evaluate.models}
        check_leftovers(folders)
        t.finish(compare(folders, t.input("curate"), t.out, t.report(), t.config.compare, t.config.compute.seed))
        t.run.artifact(t.out)
        t.run.artifact(t.report())
