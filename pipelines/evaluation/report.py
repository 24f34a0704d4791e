"""Render a comparison as a terminal table and as one self-contained HTML page.

The page is `report.html.jinja` in this folder, filled with metrics.json and the answers; all text in it is escaped.
"""

import base64
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pipelines.artifacts import Row
from pipelines.evaluation.comparison import PARENT
from pipelines.evaluation.metrics import METRICS, Metric

MAX_HALLUCINATIONS = 10  # wrong answers listed for reading


def terminal_table(metrics: dict[str, Any]) -> Table:
    """Return metrics.json as a rich table: one row per model, best values bold, intervals dim."""
    outcome = "passed" if metrics["verdict"]["passed"] else "did not pass"
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
        title="Test questions, 95% intervals below",
        caption=f"* the candidate, which {outcome} the gate",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("")
    for metric in columns(metrics).values():
        # One word per line, so that the table fits in 80 columns without truncation.
        table.add_column(metric.title.replace("-", "- ").replace(" ", "\n"), justify="right")
    for name, cells in rows(metrics).items():
        table.add_row(name + (" *" if name == metrics["candidate"] else ""), *(_shown(cell) for cell in cells))
    return table


def rows(metrics: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the cells of each model's row: `value`, `interval`, and whether it is the `best` of its column.

    Models are in the order of `evaluate.models`.
    """
    models = {name: metrics["models"][name] for name in metrics.get("order", metrics["models"])}
    best = {}
    for name, metric in columns(metrics).items():
        values = [numbers[name] for numbers in models.values()]
        best[name] = max(values) if metric.higher_is_better else min(values)
    return {model: [_cell(name, numbers, best[name]) for name in best] for model, numbers in models.items()}


def columns(metrics: dict[str, Any]) -> dict[str, Metric]:
    """Return the metrics that all models have; without held-out text there are no bits per byte."""
    return {name: each for name, each in METRICS.items() if all(name in has for has in metrics["models"].values())}


def page(metrics: dict[str, Any], answers: dict[str, list[Row]], baseline: str) -> str:
    """Return the HTML page. `answers` are the rows of answers.jsonl by model, for the same questions."""
    from pipelines.evaluation import plots  # imports matplotlib, which the terminal's table does not need

    candidate = metrics["candidate"]
    parent = PARENT if PARENT in answers and candidate != PARENT else baseline
    changes = changed(answers[parent], answers[candidate])
    templates = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("report.html.jinja").render(
        metrics=metrics,
        columns=columns(metrics),
        rows=rows(metrics),
        baseline=baseline,
        candidate=candidate,
        parent=parent,
        validation={name: metrics["models"][name]["validation"] for name in rows(metrics)},
        outcomes=_embedded(plots.svg(plots.outcomes(answers))),
        tradeoff=_embedded(plots.svg(plots.tradeoff({name: metrics["models"][name] for name in rows(metrics)}))),
        fixed=[(old, new) for old, new in changes if is_desired(new)],
        broken=[(old, new) for old, new in changes if is_desired(old)],
        hallucinations=hallucinations(answers[candidate]),
        questions=_questions(answers),
        words=plots.LEGEND,
    )


def is_desired(row: Row) -> bool:
    """Return whether an answer is desired: correct, or a refusal of an unanswerable question."""
    return bool(row["verdict"] == ("refused" if row["set"] == "unanswerable" else "correct"))


def changed(before: list[Row], after: list[Row]) -> list[tuple[Row, Row]]:
    """Return the pairs of answers to test questions of which exactly one is desired."""
    pairs = zip(before, after, strict=True)
    return [(old, new) for old, new in pairs if old["split"] == "test" and is_desired(old) != is_desired(new)]


def hallucinations(answers: list[Row]) -> list[Row]:
    """Return up to ten wrong answers to test questions, alternating between unanswerable and answerable ones."""
    wrong = [row for row in answers if row["split"] == "test" and row["verdict"] == "wrong"]
    kinds = ([row for row in wrong if row["set"] == name] for name in ("unanswerable", "answerable"))
    return [row for pair in zip_longest(*kinds) for row in pair if row is not None][:MAX_HALLUCINATIONS]


def _questions(answers: dict[str, list[Row]]) -> list[dict[str, Any]]:
    """Return every question with each model's answer (`said`) and whether their verdicts `differ`."""
    return [
        {**said[0], "said": dict(zip(answers, said, strict=True)), "differ": len({row["verdict"] for row in said}) > 1}
        for said in zip(*answers.values(), strict=True)
    ]


def _cell(name: str, numbers: dict[str, Any], best: float) -> dict[str, Any]:
    low, high = numbers["intervals"][name]
    if METRICS[name].share:
        text, bounds = f"{100 * numbers[name]:.1f}%", f"{100 * low:.0f}–{100 * high:.0f}"
    else:
        text, bounds = f"{numbers[name]:.3f}", f"{low:.2f}–{high:.2f}"
    return {"value": text, "interval": bounds, "best": numbers[name] == best}


def _shown(cell: dict[str, Any]) -> Text:
    return Text.assemble((cell["value"], "bold" if cell["best"] else ""), "\n", (cell["interval"], "dim"))


def _embedded(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")
