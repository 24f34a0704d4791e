"""Compare: build the tables of all evaluated models, and apply the gate to the candidate.

Reads artifacts/evaluate/<model>/ of every model in `evaluate.models`, the test answers in artifacts/test/,
artifacts/select/, artifacts/calibrate/, artifacts/open_book/, artifacts/best_of_n/ and artifacts/curate/train.jsonl;
writes artifacts/compare/ with metrics.json and plots (PNG), artifacts/plots/compare.csv with the candidate's accuracy
by slice, and artifacts/reports/compare.html. Run alone: python -m tasks.compare
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.curation import schema
from pipelines.evaluation import comparison, gate, metrics
from pipelines.evaluation.best_of_n.curve import CURVE
from pipelines.evaluation.confidence import calibration
from pipelines.evaluation.config import CompareConfig
from pipelines.evaluation.metrics import units
from pipelines.evaluation.questions import are_synthesised
from pipelines.evaluation.report import page as html
from pipelines.evaluation.report import plots
from pipelines.evaluation.report.answers import Answers
from pipelines.evaluation.report.slices import plotted, slices
from pipelines.evaluation.report.weak_documents import weak_documents
from pipelines.evaluation.retrieval.open_book import BOTH, same
from pipelines.evaluation.retrieval.table import shown, table
from pipelines.evaluation.selection import read
from tasks import task

_FORBIDDEN = re.compile(r"[^\w.\- :]")
"""Characters that MLflow does not allow in the name of a metric, and "/"; users name the kinds of their questions."""


@dataclass(frozen=True)
class Inputs:
    """Directories in artifacts/ that are compared."""

    evaluated: dict[str, Path]
    """The evaluations on the validation questions, by model name."""
    test: Path
    """The answers to the test questions."""
    select: Path
    calibrate: Path
    open_book: Path
    best_of_n: Path
    curate: Path
    """Its training rows tell which test questions training came near to."""


def compare(inputs: Inputs, out: Path, page: Path, config: CompareConfig, seed: int) -> dict[str, float]:
    """Compare all models, and judge the candidate; return every `<model>.<metric>` on the test questions.

    The test questions were not used to select the candidate; only the models that the decision needs were asked them.
    """
    scores = {name: artifacts.read_json(folder / "scores.json") for name, folder in inputs.evaluated.items()}
    texts = {name: each["text"] for name, each in scores.items()}
    answers = _answers(inputs)
    comparison.check_comparable(answers.test, texts, config.baseline)
    how = config.resamples, seed, config.min_clusters
    selection, best_of_n = read(inputs.select), artifacts.read_json(inputs.best_of_n / CURVE)
    best = selection.candidate
    references = _references(answers.test, config.baseline, selection.parent)
    checks = [check for each in references for check in gate.judge(answers.test[best], each, config, seed)]
    confidence = artifacts.read_json(inputs.calibrate / calibration.CONFIDENCE)
    curve = artifacts.read_rows(inputs.calibrate / calibration.RISK_COVERAGE)
    abstaining = _abstaining(answers.test[best], inputs.calibrate)
    measured = {name: units(rows, texts[name]) for name, rows in answers.validation.items()}
    result = {
        "models": comparison.compare(answers.test, texts, *how),
        "order": list(answers.test),
        "validation": {
            "models": {name: comparison.with_intervals(each, *how) for name, each in measured.items()},
            "order": list(answers.validation),
        },
        **asdict(selection),
        "open_book": _open_book(answers.test, (config.baseline, best), inputs, config, seed),
        "confidence": confidence,
        "abstaining": None if abstaining is None else comparison.values(shown(units(abstaining))),
        "slices": slices(answers.test, _trained(inputs.curate)),
        "weak_documents": weak_documents(answers.test[best]),
        "best_of_n": best_of_n,
        "verdict": gate.verdict(checks, synthesised=are_synthesised(answers.test[best])),
        "protocol": {
            **artifacts.read_json(inputs.test / "baseline/protocol.json"),
            "weights": {name: each["weights"] for name, each in scores.items()},
            "seed": seed,
        },
    }
    artifacts.write_json(out / "metrics.json", result)
    plots.write(out, result["models"], answers, best_of_n, curve, calibration.Confidence.of(confidence).threshold)
    page.write_text(html.page(result, answers, curve, config), encoding="utf-8")
    return _logged(result)


def _answers(inputs: Inputs) -> Answers:
    """Return the validation answers of all models, and the test answers of those asked, both in one order."""
    asked = {path.parent.name: path for path in inputs.test.glob("*/*/answers.jsonl")}
    return Answers(
        {name: artifacts.read_rows(folder / "answers.jsonl") for name, folder in inputs.evaluated.items()},
        {name: artifacts.read_rows(asked[name]) for name in inputs.evaluated if name in asked},
    )


def _references(answers: dict[str, list[Row]], baseline: str, parent: str | None) -> list[gate.Reference]:
    """Return what the candidate is compared with: the baseline and, if it was asked the test questions, its parent."""
    against = [gate.Reference(gate.Role.BASELINE, baseline, answers[baseline])]
    if parent in answers:
        against.append(gate.Reference(gate.Role.PARENT, parent, answers[parent]))
    return against


def _logged(result: dict[str, Any]) -> dict[str, float]:
    """Return the figures for MLflow.

    They are every metric on the test questions, the candidate's when it abstains, its accuracy by slice, and the gain
    and its bounds by gate.
    """
    best, models = result["candidate"], result["models"]
    found = {
        f"{name}.{metric}": float(models[name][metric])
        for name in models
        for metric in metrics.METRICS
        if metric in models[name]
    }
    by_slice = {
        f"slice/{each['group']}/{_metric_name(each['title'])}": each["accuracy"][best] for each in result["slices"]
    }
    abstaining = {f"abstaining.{metric}": value for metric, value in (result["abstaining"] or {}).items()}
    return found | abstaining | by_slice | _gains(result["verdict"]["checks"])


def _metric_name(title: str) -> str:
    """Return `title` as a part of a metric's name, which may neither be empty nor, as in paths, "." or ".."."""
    return _FORBIDDEN.sub("_", title).strip(". ") or "_"


def _gains(checks: list[dict[str, Any]]) -> dict[str, float]:
    measured = {each["gate"]: (each["gain"], *each["bounds"]) for each in checks if each["bounds"] is not None}
    return {
        f"gate/{name}/{figure}": number
        for name, numbers in measured.items()
        for figure, number in zip(("gain", "lower", "upper"), numbers, strict=True)
    }


def _open_book(
    answers: dict[str, list[Row]], names: tuple[str, str], inputs: Inputs, config: CompareConfig, seed: int
) -> dict[str, Any]:
    """Return the table of the ways of answering: closed book, open book, both, abstaining."""
    rows = {name: artifacts.read_rows(inputs.open_book / f"{name}.jsonl") for name in (*names, BOTH)}
    closed = {name: same(answers[name], rows[name]) for name in names}
    return table(closed, rows, rows.pop(BOTH), _abstaining(closed[names[-1]], inputs.calibrate), config, seed)


def _abstaining(rows: list[Row], calibrate: Path) -> list[Row] | None:
    """Return the candidate's answers as a user gets them, with refusals below the threshold; None without one."""
    threshold = calibration.Confidence.of(artifacts.read_json(calibrate / calibration.CONFIDENCE)).threshold
    confidence = {row["id"]: row["confidence"] for row in artifacts.read_rows(calibrate / calibration.CONFIDENCES)}
    return None if threshold is None else calibration.abstaining(rows, confidence, threshold)


def _trained(curated: Path) -> list[tuple[str, str]]:
    """Return the questions and answers of the training rows that are about a document."""
    rows = schema.read_training_rows(curated / "train.jsonl")
    return [(row.question, row.answer) for row in rows if row.source is not None]


if __name__ == "__main__":
    with task("compare") as t:
        others = {name: t.input(name) for name in ("select", "calibrate", "open_book", "best_of_n", "curate")}
        evaluated = {name: t.input(f"evaluate/{name}") for name in t.config.evaluate.models}
        inputs = Inputs(evaluated, t.input("test/baseline").parent, **others)
        t.input("test/candidate")
        t.finish(compare(inputs, t.out, t.report(), t.config.compare, t.config.compute.seed))
        result = artifacts.read_json(t.out / "metrics.json")
        artifacts.write_csv(artifacts.PLOTS / "compare.csv", plotted(result))
        t.run.artifact(t.out)
        t.run.artifact(t.report())
