"""Compare models: every metric with its interval, and paired differences. Reads and writes nothing."""

from typing import Any

from pipelines.artifacts import Row
from pipelines.evaluation.metrics import METRICS, units
from pipelines.evaluation.questions import TEST
from pipelines.evaluation.statistics.bootstrap import Unit, difference, interval, value
from pipelines.runtime.errors import UserError

Units = dict[str, list[Unit]]


def compare(
    answers: dict[str, list[Row]],
    texts: dict[str, list[Row]],
    resamples: int,
    seed: int,
    min_clusters: int,
) -> dict[str, dict[str, Any]]:
    """Return each model's metrics on the test questions and the held-out text, and their 95% `intervals`.

    `answers` and `texts` hold the rows of answers.jsonl and of scores.json["text"] by model. Without held-out text,
    there are no bits per byte.
    """
    test = {name: units(of(rows, TEST), texts[name]) for name, rows in answers.items()}
    return {name: with_intervals(metrics, resamples, seed, min_clusters) for name, metrics in test.items()}


def is_desired(row: Row) -> bool:
    """Return whether an answer is desired: correct, or a refusal of an unanswerable question."""
    return bool(row["verdict"] == ("refused" if row["set"] == "unanswerable" else "correct"))


def values(measured: Units) -> dict[str, float]:
    """Return each metric's value, rounded to six places."""
    return {metric: round(value(rows), 6) for metric, rows in measured.items()}


def with_intervals(measured: Units, resamples: int, seed: int, min_clusters: int) -> dict[str, Any]:
    """Return each metric's value, and by metric its 95% interval as `intervals`."""
    how = resamples, seed, min_clusters
    bounds = {metric: interval(rows, *how, share=METRICS[metric].share) for metric, rows in measured.items()}
    return {
        **values(measured),
        "intervals": {metric: [round(bound, 6) for bound in both] for metric, both in bounds.items()},
    }


def differences(these: Units, those: Units, resamples: int, seed: int, min_clusters: int) -> dict[str, Any]:
    """Return by metric the paired difference of `these` from `those`: its `value` and 95% `interval`."""
    found: dict[str, Any] = {}
    for metric, rows in these.items():
        change = difference(rows, those[metric], resamples, seed, min_clusters, METRICS[metric].change_limits)
        found[metric] = {
            "value": round(change.value, 6),
            "interval": [round(bound, 6) for bound in change.bounds(0.025)],
        }
    return found


def of(rows: list[Row], split: str) -> list[Row]:
    """Return the rows of answers.jsonl of one split."""
    return [row for row in rows if row["split"] == split]


def check_comparable(answers: dict[str, list[Row]], texts: dict[str, list[Row]], baseline: str) -> None:
    """Check that there is a baseline and another model, and that all were asked the same questions.

    Raises:
        UserError: there is not, or they were not.
    """
    if baseline not in answers or len(answers) < 2:
        raise UserError(f"compare.baseline is {baseline!r}; evaluate.models must name it and at least one other model.")
    for name in answers:
        same = [row["id"] for row in answers[name]] == [row["id"] for row in answers[baseline]]
        if not same or [row["source"] for row in texts[name]] != [row["source"] for row in texts[baseline]]:
            raise UserError(f"{name} and {baseline} were asked different questions; rerun evaluate for both.")
