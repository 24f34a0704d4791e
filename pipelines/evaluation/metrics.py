"""Metrics from verdicts, with 95% bootstrap intervals and paired differences. Reads and writes nothing.

Every metric is a ratio of two sums over questions (or held-out documents), so one bootstrap serves all. It resamples
source documents instead of questions, because questions about one document are correlated (Miller 2024,
arXiv:2411.00640). With too few documents the resamples barely differ, so questions are resampled instead.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """Title, meaning and direction of a metric."""

    title: str
    meaning: str
    higher_is_better: bool
    share: bool = True
    """Whether the value is between 0 and 1."""


METRICS = {
    "answer_accuracy": Metric("Accuracy", "share of answerable questions answered correctly", True),
    "answer_f1": Metric("Token F1", "token overlap with the accepted answer, over answerable questions", True),
    "over_refusal": Metric("Over-refusal rate", "share of answerable questions refused", False),
    "refusal_recall": Metric("Refusal recall", "share of unanswerable questions refused", True),
    "hallucination_rate": Metric("Hallucination rate", "share of all these questions answered wrongly", False),
    "general_accuracy": Metric("General accuracy", "share of general questions answered correctly", True),
    "domain_bits_per_byte": Metric("Bits per byte", "on held-out documents", False, share=False),
}


@dataclass(frozen=True)
class Unit:
    """Contribution of one question or document to a metric: `amount` out of `weight`."""

    cluster: str
    amount: float
    weight: float = 1.0


def units(answers: Iterable[dict[str, Any]], text: Iterable[dict[str, Any]] = ()) -> dict[str, list[Unit]]:
    """Return by metric the contribution of each judged answer (a row of answers.jsonl) and scored document."""
    contributions: dict[str, list[Unit]] = {name: [] for name in METRICS}
    for row in answers:
        for name, amount in _counts(row).items():
            contributions[name].append(Unit(row["cluster"], amount))
    contributions["domain_bits_per_byte"] = [Unit(row["source"], row["bits"], row["bytes"]) for row in text]
    return {name: rows for name, rows in contributions.items() if rows}


def _counts(row: dict[str, Any]) -> dict[str, float]:
    correct, refused, wrong = (float(row["verdict"] == name) for name in ("correct", "refused", "wrong"))
    if row["set"] == "general":
        return {"general_accuracy": correct}
    if row["set"] == "unanswerable":
        return {"refusal_recall": refused, "hallucination_rate": wrong}
    return {"answer_accuracy": correct, "answer_f1": row["f1"], "over_refusal": refused, "hallucination_rate": wrong}


def value(rows: list[Unit]) -> float:
    """Return the metric, the sum of amounts over the sum of weights."""
    return sum(row.amount for row in rows) / sum(row.weight for row in rows)


def interval(rows: list[Unit], resamples: int, seed: int, min_clusters: int, *, share: bool) -> Interval:
    """Return the 95% percentile interval of the cluster bootstrap.

    If all clusters of a share are 0 (or 1), every resample is too. The interval is then the exact binomial one over
    clusters (Clopper and Pearson 1934), so that 0 of 50 is not reported as exactly 0.
    """
    drawn = _resampled(rows, resamples, seed, min_clusters)
    low, high = _percentiles(drawn)
    clusters = len(set(_clusters(rows, min_clusters)))
    if share and high == 0.0:
        return 0.0, 1 - 0.025 ** (1 / clusters)
    if share and low == 1.0:
        return 0.025 ** (1 / clusters), 1.0
    return low, high


def difference(
    rows: list[Unit], others: list[Unit], resamples: int, seed: int, min_clusters: int
) -> tuple[float, Interval]:
    """Return `rows` minus `others` and its 95% interval, paired: both use the same resampled clusters.

    Raises:
        ValueError: the two were not measured on the same questions in the same order.
    """
    if [row.cluster for row in rows] != [row.cluster for row in others]:
        raise ValueError("paired differences need the same questions in the same order on both sides")
    drawn = _resampled(rows, resamples, seed, min_clusters) - _resampled(others, resamples, seed, min_clusters)
    return value(rows) - value(others), _percentiles(drawn)


def _clusters(rows: list[Unit], min_clusters: int) -> Sequence[Hashable]:
    """Return each row's resampling unit: its cluster, or the row itself below `min_clusters` effective clusters.

    The effective number (Kish 1965) is the number of equally large clusters with the same variance: one document with
    half of all questions limits it to four, no matter how many others have one question each.
    """
    sizes: dict[str, float] = defaultdict(float)
    for row in rows:
        sizes[row.cluster] += row.weight
    effective = sum(sizes.values()) ** 2 / sum(size**2 for size in sizes.values())
    return [row.cluster for row in rows] if effective >= min_clusters else range(len(rows))


def _resampled(rows: list[Unit], resamples: int, seed: int, min_clusters: int) -> Floats:
    """Return the metric on `resamples` bootstrap samples of the clusters: [resamples].

    Equal seeds and clusters give equal samples, which pairs two models.
    """
    sampled_by = _clusters(rows, min_clusters)
    names = sorted(set(sampled_by), key=str)
    place = {name: index for index, name in enumerate(names)}
    sums = np.zeros((2, len(names)))
    for row, name in zip(rows, sampled_by, strict=True):
        sums[:, place[name]] += row.amount, row.weight
    shares = np.full(len(names), 1 / len(names))
    counts = np.random.default_rng(seed).multinomial(len(names), shares, size=resamples)  # [resamples, clusters]
    amounts, weights = counts @ sums[0], counts @ sums[1]
    drawn: Floats = amounts / weights
    return drawn


def _percentiles(drawn: Floats) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
