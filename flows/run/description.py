"""Names and descriptions of a run for MLflow, Prefect and the registry: pure functions over plain values.

Reads and writes nothing; flows/run/publish.py writes the returned texts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.promotion.decisions import MIN_SERVED, describe_served
from flows.promotion.promote import Promotion
from pipelines.evaluation.report.page import columns, detail, rows

TRAINING = ("pretrain", "sft", "pairs", "reward", "align", "rl", "teacher")
MEASURING = ("evaluate", "select", "test", "calibrate", "open_book", "best_of_n", "compare")


@dataclass(frozen=True)
class Origin:
    """Provenance of a run and the addresses of its pages."""

    commit: str
    branch: str
    dirty: bool
    flow_run: str
    prefect: str
    """URL of the run's page in Prefect."""
    mlflow: str
    """URL of the run's page in MLflow."""


def running(targets: Sequence[str]) -> str:
    """Return the name of a run that has not ended."""
    return f"{_what(targets)} · running"


def name(targets: Sequence[str], promotion: Promotion | None) -> str:
    """Return the name of a finished run, such as `dpo 58.8% · not promoted` or `data_report only`."""
    if promotion is None:
        return f"{', '.join(targets)} only" if targets else "whole run · nothing promoted"
    accuracy = promotion.comparison["models"][promotion.candidate]["answer_accuracy"]
    return f"{promotion.candidate} {100 * accuracy:.1f}% · {'champion' if promotion.promoted else 'not promoted'}"


def broken(targets: Sequence[str], failed: str | None) -> str:
    """Return the name of a run that was stopped, or in which the stage `failed`."""
    return f"{_what(targets)} · {f'{failed} failed' if failed else 'stopped'}"


def context(stage: str) -> str:
    """Return the MLflow context in which a stage reads its data sets."""
    task = stage.split("@")[0]
    return "training" if task in TRAINING else "evaluation" if task in MEASURING else "preparation"


def figures(promotion: Promotion) -> dict[str, float]:
    """Return the candidate's metrics under names shared by all runs, such as `candidate/answer_accuracy`."""
    values = promotion.comparison["models"][promotion.candidate]
    return {f"candidate/{metric}": float(values[metric]) for metric in columns(promotion.comparison)}


def verdict(promotion: Promotion) -> str:
    """Return two paragraphs: whether the candidate was promoted and, if not, why; and the openings of the gate."""
    chosen = f"**{promotion.candidate}** (version {promotion.version})"
    result = f"{chosen} is champion." if promotion.promoted else f"{chosen} is **not promoted**: {promotion.reason}"
    return f"{result}\n\n{promotion.openings}"


def checks(promotion: Promotion) -> list[str]:
    """Return every check of the gate as a line: against the baseline, the parent and the champion, and as served."""
    against = promotion.decision.get("against_champion") or {"checks": []}
    metrics = promotion.comparison
    found = [(each, detail(each, metrics)) for each in metrics["verdict"]["checks"]]
    found += [(each, each["detail"]) for each in against["checks"]]
    lines = [f"{each['outcome']}, {each['gate']}: {said}" for each, said in found]
    if share := promotion.decision.get("served"):
        outcome = "pass" if float(share) >= MIN_SERVED else "fail"
        lines.append(f"{outcome}, served: {describe_served(float(share))}")
    return lines


def table(comparison: Mapping[str, Any]) -> str:
    """Return the comparison as a Markdown table with the best value of each column in bold."""
    metrics = dict(comparison)
    head = ["model", *(each.title for each in columns(metrics).values())]
    models = rows(metrics)
    lines = [_line(head), _line(["---", *("---:" for _ in head[1:])])]
    for model, cells in models.items():
        marked = f"{model} (candidate)" if model == metrics["candidate"] else model
        lines.append(_line([marked, *(f"**{cell['value']}**" if cell["best"] else cell["value"] for cell in cells)]))
    return "\n".join(lines)


def description(targets: Sequence[str], promotion: Promotion | None, states: Mapping[str, str], origin: Origin) -> str:
    """Return the run's description in Markdown: verdict, table, stages and provenance."""
    parts = [verdict(promotion), table(promotion.comparison)] if promotion else [f"Stages: {_what(targets)}."]
    return "\n\n".join([*parts, _stages(states), *_reports(promotion), _origin(origin)])


def card(promotion: Promotion, facts: Mapping[str, str]) -> str:
    """Return a short model card as the description of a version; `facts` are listed as name and value."""
    load = f'mlflow.transformers.load_model("models:/gradus/{promotion.version}")'
    gates = "\n".join(f"- {line}" for line in checks(promotion))
    lines = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    return "\n\n".join([verdict(promotion), gates, table(promotion.comparison), lines, f"Load it: `{load}`"])


def _what(targets: Sequence[str]) -> str:
    return f"{', '.join(targets)} only" if targets else "whole run"


def _stages(states: Mapping[str, str]) -> str:
    groups = {
        state: [f"`{stage}`" for stage, found in states.items() if found == state]
        for state in dict.fromkeys(states.values())
    }
    return "\n".join(f"- {state} ({len(stages)}): {', '.join(stages)}" for state, stages in groups.items())


def _reports(promotion: Promotion | None) -> list[str]:
    if promotion is None:
        return []
    return ["Artifacts of this run: `compare/report.html` (every question), `compare/tradeoff.png`, `index.html`."]


def _origin(origin: Origin) -> str:
    changed = " with uncommitted changes" if origin.dirty else ""
    return "\n".join(
        [
            f"- commit `{origin.commit[:10]}`{changed}, branch `{origin.branch}`",
            f"- [this run in Prefect]({origin.prefect}) (`gradus up`), flow run `{origin.flow_run}`",
            f"- [this run in MLflow]({origin.mlflow}) (`gradus ui`)",
        ]
    )


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
