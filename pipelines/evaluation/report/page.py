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
from pipelines.evaluation.best_of_n.curve import warning
from pipelines.evaluation.comparison import is_desired
from pipelines.evaluation.confidence.calibration import Confidence
from pipelines.evaluation.confidence.signal_names import SIGNALS
from pipelines.evaluation.config import CompareConfig
from pipelines.evaluation.metrics import METRICS, WRONG_COST, Metric
from pipelines.evaluation.questions import are_synthesised
from pipelines.evaluation.report.answers import Answers
from pipelines.evaluation.verdicts.invented import is_attempt

OUTCOMES = {
    "pass": "passed the gate",
    "fail": "failed the gate",
    "undecided": "neither passed nor failed the gate: too few questions",
}
NOT_IN_TERMINAL = ("answer_f1", "invented_entities")  # 80 columns hold seven metrics
MAX_HALLUCINATIONS = 10  # wrong answers listed for reading


def terminal_table(metrics: dict[str, Any]) -> Table:
    """Return metrics.json as a rich table: one row per model, best values bold, intervals dim."""
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
        title="Test questions, 95% intervals below",
        caption=f"* the candidate, which {OUTCOMES[metrics['verdict']['outcome']]}{_others(metrics)}",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("")
    shown = [name for name in columns(metrics) if name not in NOT_IN_TERMINAL]
    for metric in map(METRICS.__getitem__, shown):
        # One word per line, and the longest hyphenated, so that the table fits in 80 columns without truncation.
        title = metric.title.replace("Hallucination", "Halluci-nation")
        table.add_column(title.replace("-", "- ").replace(" ", "\n"), justify="right")
    places = [place for place, name in enumerate(columns(metrics)) if name in shown]
    for name, cells in rows(metrics).items():
        table.add_row(
            name + (" *" if name == metrics["candidate"] else ""), *(_shown(cells[place]) for place in places)
        )
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


def not_asked(metrics: dict[str, Any]) -> list[str]:
    """Return the models that were not asked the test questions, because the decision does not need their answers."""
    return [name for name in metrics["validation"]["order"] if name not in metrics["models"]]


def page(metrics: dict[str, Any], answers: Answers, curve: list[Row], config: CompareConfig) -> str:
    """Return the HTML page; `curve` are the rows of risk_coverage.jsonl."""
    from pipelines.evaluation.report import plots  # imports matplotlib, which the terminal's table does not need

    candidate, best, splits = metrics["candidate"], metrics["best_of_n"], (answers.test, answers.validation)
    confidence = Confidence.of(metrics["confidence"])
    said = answers.test[candidate]
    parent = metrics["parent"] if metrics["parent"] in answers.test else config.baseline
    changes = changed(answers.test[parent], said)
    domain = [row for row in said if is_attempt(row)]
    templates = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("report.html.jinja").render(
        metrics=metrics,
        detail=detail,
        columns=columns(metrics),
        rows=rows(metrics),
        open_book=metrics["open_book"],
        open_book_columns=columns(metrics["open_book"]),
        open_book_rows=rows(metrics["open_book"]),
        certificate=confidence.sentence,
        threshold=confidence.threshold,
        auroc=metrics["confidence"]["auroc"],
        general=metrics["confidence"]["general"],
        signals=SIGNALS,
        risk_coverage=_embedded(plots.svg(plots.risk_coverage(curve, confidence.threshold))),
        baseline=config.baseline,
        candidate=candidate,
        parent=parent,
        not_asked=not_asked(metrics),
        validation_columns=columns(metrics["validation"]),
        validation_rows=rows(metrics["validation"]),
        risk_by_model=_embedded(plots.svg(plots.risk_by_model(answers.test))),
        protocol=metrics["protocol"],
        config=config,
        outcomes=_embedded(plots.svg(plots.outcomes(answers))),
        tradeoff=_embedded(plots.svg(plots.tradeoff({name: metrics["models"][name] for name in rows(metrics)}))),
        best_of_n=best,
        samples=_embedded(plots.svg(plots.accuracy_by_k(best))),
        bad_reward=warning(best) if best["reward_against_majority"]["is_worse"] else "",
        invented=[row for row in said if row["invented"]],
        attempts=len(domain),
        fixed=[(old, new) for old, new in changes if is_desired(new)],
        broken=[(old, new) for old, new in changes if is_desired(old)],
        hallucinations=hallucinations(said),
        questions=[question for split in splits for question in _questions(split)],
        judged=sum(row["judged"] for split in splits for rows in split.values() for row in rows),
        words=plots.LEGEND,
        wrong_cost=f"{WRONG_COST:g}",
        level=f"{100 * (1 - config.alpha_per_opening):g}%",
        synthesised=are_synthesised(said),
        outcome=OUTCOMES[metrics["verdict"]["outcome"]],
    )


def detail(check: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Return a check of metrics.json as text: beside the over-refusal rate, which is raw, that with abstention."""
    abstaining = metrics["abstaining"]
    if abstaining is None or check["gate"] != "useful":
        return str(check["detail"])
    rate, threshold = abstaining["over_refusal"], Confidence.of(metrics["confidence"]).threshold
    return f"{check['detail']} With abstention below a confidence of {threshold:.2f} it is {100 * rate:.1f}%."


def changed(before: list[Row], after: list[Row]) -> list[tuple[Row, Row]]:
    """Return the pairs of answers to the same questions of which exactly one is desired."""
    return [(old, new) for old, new in zip(before, after, strict=True) if is_desired(old) != is_desired(new)]


def hallucinations(answers: list[Row]) -> list[Row]:
    """Return up to ten wrong answers, alternating between unanswerable and answerable questions."""
    wrong = [row for row in answers if row["verdict"] == "wrong"]
    kinds = ([row for row in wrong if row["set"] == name] for name in ("unanswerable", "answerable"))
    return [row for pair in zip_longest(*kinds) for row in pair if row is not None][:MAX_HALLUCINATIONS]


def _questions(answers: dict[str, list[Row]]) -> list[dict[str, Any]]:
    """Return every question of a split with each model's answer (`said`) and whether their verdicts `differ`."""
    return [
        {**said[0], "said": dict(zip(answers, said, strict=True)), "differ": len({row["verdict"] for row in said}) > 1}
        for said in zip(*answers.values(), strict=True)
    ]


def _others(metrics: dict[str, Any]) -> str:
    others = not_asked(metrics)
    return f"\nNot asked, because not selected: {', '.join(others)}" if others else ""


def _cell(name: str, numbers: dict[str, Any], best: float) -> dict[str, Any]:
    low, high = numbers["intervals"][name]
    if METRICS[name].share:
        text, bounds = f"{100 * numbers[name]:.1f}%", f"{100 * low:.0f}–{100 * high:.0f}"
    else:
        digits = METRICS[name].digits
        between = "–" if low >= 0 else ", "  # not a dash before a minus sign
        text, bounds = f"{numbers[name]:.{digits}f}", f"{low:.{digits - 1}f}{between}{high:.{digits - 1}f}"
    return {"value": text, "interval": bounds, "best": numbers[name] == best}


def _shown(cell: dict[str, Any]) -> Text:
    return Text.assemble((cell["value"], "bold" if cell["best"] else ""), "\n", (cell["interval"], "dim"))


def _embedded(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")
