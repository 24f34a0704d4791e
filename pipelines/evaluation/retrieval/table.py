"""Compare closed book, open book, both and abstaining on the same test questions. Reads and writes nothing."""

from typing import Any

from pipelines.artifacts import Row
from pipelines.evaluation.comparison import Units, differences, with_intervals
from pipelines.evaluation.config import CompareConfig
from pipelines.evaluation.metrics import units
from pipelines.evaluation.retrieval.open_book import recall

SHOWN = ("score", "answer_accuracy", "over_refusal", "refusal_recall", "hallucination_rate")


def table(
    closed: dict[str, list[Row]],
    opened: dict[str, list[Row]],
    both: list[Row],
    abstaining: list[Row] | None,
    config: CompareConfig,
    seed: int,
) -> dict[str, Any]:
    """Return the metrics of each way of answering, in the form of metrics.json.

    `closed` and `opened` hold the rows of the same questions by model, the baseline first and the candidate last;
    `both` are those of the cascade, `abstaining` the candidate's with a refusal below the threshold of its confidence.
    Beside `models`, `order` and the number of `questions` there are `tuning`, the paired difference by metric of the
    candidate closed book from the baseline open book, which is what tuning gains over retrieval, and the `recall` of
    the retrieval.
    """
    baseline, candidate = closed
    ways: dict[str, list[Row]] = {}
    for name in closed:
        ways |= {f"{name}, closed book": closed[name], f"{name}, open book": opened[name]}
    ways[f"{candidate}, both"] = both
    if abstaining is not None:
        ways[f"{candidate}, abstaining"] = abstaining
    measured = {way: shown(units(rows)) for way, rows in ways.items()}
    how = config.resamples, seed, config.min_clusters
    return {
        "models": {way: with_intervals(each, *how) for way, each in measured.items()},
        "order": list(ways),
        "questions": len(closed[baseline]),
        "tuning": differences(measured[f"{candidate}, closed book"], measured[f"{baseline}, open book"], *how),
        "recall": round(recall(opened[candidate]), 6),
    }


def shown(measured: Units) -> Units:
    """Return the metrics that abstaining and passages change: those about the documents."""
    return {metric: rows for metric, rows in measured.items() if metric in SHOWN}
