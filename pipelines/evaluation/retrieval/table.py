"""Compare closed book, open book and both on the same test questions. Reads and writes nothing."""

from typing import Any

from pipelines.artifacts import Row
from pipelines.evaluation.comparison import differences, with_intervals
from pipelines.evaluation.config import CompareConfig
from pipelines.evaluation.metrics import units
from pipelines.evaluation.retrieval.open_book import recall

SHOWN = ("score", "answer_accuracy", "over_refusal", "refusal_recall", "hallucination_rate")


def table(
    closed: dict[str, list[Row]], opened: dict[str, list[Row]], both: list[Row], config: CompareConfig, seed: int
) -> dict[str, Any]:
    """Return the metrics of each way of answering, in the form of metrics.json.

    `closed` and `opened` hold the rows of the same questions by model, the baseline first and the candidate last. Beside
    `models` and `order` there are `tuning`, the paired difference by metric of the candidate closed book from the
    baseline open book, that is of tuning from retrieval, and the `recall` of the retrieval.
    """
    ways = {
        **{
            f"{name}, {book} book": rows[name]
            for name in closed
            for book, rows in (("closed", closed), ("open", opened))
        },
        f"{list(closed)[-1]}, both": both,
    }
    measured = {way: {name: each for name, each in units(rows).items() if name in SHOWN} for way, rows in ways.items()}
    how = config.resamples, seed, config.min_clusters
    first, last = list(closed)[0], list(closed)[-1]
    return {
        "models": {way: with_intervals(each, *how) for way, each in measured.items()},
        "order": list(ways),
        "tuning": differences(measured[f"{last}, closed book"], measured[f"{first}, open book"], *how),
        "recall": round(recall(both), 6),
    }
