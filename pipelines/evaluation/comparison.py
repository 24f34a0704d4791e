"""All models side by side: every metric with its interval, and its paired differences. Reads and writes nothing."""

from typing import Any

from pipelines.artifacts import Row
from pipelines.evaluation.metrics import METRICS, Unit, difference, interval, units, value
from pipelines.runtime.errors import UserError

PARENT = "sft"  # what the aligned models start from: they must beat it too

Units = dict[str, list[Unit]]


def compare(
    answers: dict[str, list[Row]],
    texts: dict[str, list[Row]],
    baseline: str,
    resamples: int,
    min_clusters: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Return by model its metrics on the test questions and the held-out text, as they stand in metrics.json.

    `answers` and `texts` hold the rows of answers.jsonl and of scores.json["text"] by model. Beside the
    numbers: `intervals`, the 95% interval by metric; `differences`, by the model compared with and by metric, the
    paired difference and its interval; `validation`, the numbers on the validation questions. Where no text was held
    out, there are no bits per byte.

    Raises:
        UserError: the baseline is not among the models, or they were not asked the same.
    """
    _same_questions(answers, texts, baseline)
    test = {name: units(_split(rows, "test"), texts[name]) for name, rows in answers.items()}
    how = resamples, seed, min_clusters
    references = [name for name in dict.fromkeys((baseline, PARENT)) if name in test]
    models: dict[str, dict[str, Any]] = {}
    for name, found in test.items():
        others = [reference for reference in references if reference != name]
        models[name] = {
            **values(found),
            "intervals": {metric: _interval(metric, rows, how) for metric, rows in found.items()},
            "differences": {other: _differences(found, test[other], how) for other in others},
            "validation": values(units(_split(answers[name], "validation"))),
        }
    return models


def values(found: Units) -> dict[str, float]:
    """Return each metric's value, to six places."""
    return {metric: round(value(rows), 6) for metric, rows in found.items()}


def _interval(metric: str, rows: list[Unit], how: tuple[int, int, int]) -> list[float]:
    return [round(bound, 6) for bound in interval(rows, *how, share=METRICS[metric].share)]


def _differences(these: Units, those: Units, how: tuple[int, int, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for metric, rows in these.items():
        change, bounds = difference(rows, those[metric], *how)
        found[metric] = {"value": round(change, 6), "interval": [round(bound, 6) for bound in bounds]}
    return found


def _split(rows: list[Row], split: str) -> list[Row]:
    return [row for row in rows if row["split"] == split]


def _same_questions(answers: dict[str, list[Row]], texts: dict[str, list[Row]], baseline: str) -> None:
    if baseline not in answers or len(answers) < 2:
        raise UserError(f"compare.baseline is {baseline!r}; evaluate.models must name it and one model more.")
    for name in answers:
        same = [row["id"] for row in answers[name]] == [row["id"] for row in answers[baseline]]
        if not same or [row["source"] for row in texts[name]] != [row["source"] for row in texts[baseline]]:
            raise UserError(f"{name} and {baseline} were asked different questions; run evaluate for both again.")
