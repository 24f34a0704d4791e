"""The cluster bootstrap of a ratio of two sums: intervals and paired differences. Reads and writes nothing.

It resamples source documents instead of questions, because questions about one document are correlated (Miller 2024,
arXiv:2411.00640). With too few documents the resamples barely differ, so questions are resampled instead.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import hypot, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

Interval = tuple[float, float]
Floats = NDArray[np.float64]

ADVERSE = 2
"""Questions with the worst possible difference that are added to a t bound (`Difference.t_bound`)."""


@dataclass(frozen=True)
class Unit:
    """Contribution of one question or document to a metric: `amount` out of `weight`."""

    cluster: str
    amount: float
    weight: float = 1.0


@dataclass(frozen=True)
class Difference:
    """A paired difference between two models in one metric."""

    value: float
    draws: Floats
    """The difference on each bootstrap sample: [resamples]."""
    error: float
    """Standard error, robust to the correlation within clusters (Miller 2024, equation 4)."""
    clusters: int
    size: int
    """Number of questions."""
    limits: Interval | None
    """Lowest and highest difference on one question; None if there is none."""

    def bounds(self, alpha: float) -> Interval:
        """Return the lower and the upper one-sided confidence bound, each at the level 1 - `alpha`.

        They are the wider of the percentiles and the t bounds: of 20 documents, percentiles miss their level (1.3%
        instead of 0.5%).
        """
        low, high = np.quantile(self.draws, [alpha, 1 - alpha])
        return min(float(low), self.t_bound(alpha, upper=False)), max(float(high), self.t_bound(alpha, upper=True))

    def t_bound(self, alpha: float, *, upper: bool, size: int | None = None) -> float:
        """Return the t bound, robust to clusters, of `size` questions with the same differences (default: of all).

        The variance of rare changes is estimated from the few that were seen, so that their t bound misses its level: a
        loss of 3% is excluded on 488 questions with a probability of 2.3% instead of 0.5%, and whenever none was seen.
        So `ADVERSE` questions with the worst difference are added, as Agresti and Coull (1998) add to a share (0.4%).
        """
        size = size or self.size
        growth = size / self.size
        error, shift, worst = self.error / sqrt(growth), 0.0, None
        if self.limits is not None:
            worst = self.limits[upper]
            distance = (worst - self.value) / (size + ADVERSE)
            error, shift = hypot(error, sqrt(ADVERSE) * distance), ADVERSE * distance
        reach = float(stdtrit(max(self.clusters * growth - 1, 1), 1 - alpha)) * error
        bound = self.value + shift + (reach if upper else -reach)
        return bound if worst is None else min(bound, worst) if upper else max(bound, worst)

    def detectable(self, alpha: float, *, upper: bool, power: float = 0.8) -> float:
        """Return the minimum detectable effect: the distance to a limit that the t bound excludes with `power`.

        That is the lower bound of a gain, or the `upper` bound of a loss.
        """
        return abs(self.t_bound(alpha, upper=upper) - self.value) + float(ndtri(power)) * self.error


def unchanged(size: int, limits: Interval) -> Difference:
    """Return the difference between two models that are alike on all of `size` questions."""
    return Difference(0.0, np.zeros(1), 0.0, size, size, limits)


def constant(rows: list[Unit], amount: float) -> list[Unit]:
    """Return `rows` as if the metric were `amount` on every question."""
    return [replace(row, amount=amount * row.weight) for row in rows]


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
    rows: list[Unit],
    others: list[Unit],
    resamples: int,
    seed: int,
    min_clusters: int,
    limits: Interval | None = (-1.0, 1.0),
) -> Difference:
    """Return `rows` minus `others`, paired: both use the same resampled clusters.

    `limits` are the lowest and the highest difference on one question, here of shares.

    Raises:
        ValueError: the two were not measured on the same questions in the same order.
    """
    if [row.cluster for row in rows] != [row.cluster for row in others]:
        raise ValueError("paired differences need the same questions in the same order on both sides")
    drawn = _resampled(rows, resamples, seed, min_clusters) - _resampled(others, resamples, seed, min_clusters)
    change = value(rows) - value(others)
    names = _clusters(rows, min_clusters)
    residuals: dict[Hashable, float] = defaultdict(float)
    for name, row, other in zip(names, rows, others, strict=True):
        residuals[name] += row.amount - other.amount - change * row.weight
    count, weight = len(residuals), sum(row.weight for row in rows)
    spread = sum(residual**2 for residual in residuals.values()) * count / max(count - 1, 1)
    return Difference(change, drawn, spread**0.5 / weight, count, len(rows), limits)


def _clusters(rows: list[Unit], min_clusters: int) -> Sequence[Hashable]:
    """Return each row's resampling unit: its cluster, or the row itself below `min_clusters` effective clusters."""
    sizes: dict[str, float] = defaultdict(float)
    for row in rows:
        sizes[row.cluster] += row.weight
    return [row.cluster for row in rows] if effective_clusters(sizes.values()) >= min_clusters else range(len(rows))


def effective_clusters(sizes: Collection[float]) -> float:
    """Return the number of equally large clusters with the same variance as clusters of these `sizes` (Kish 1965).

    One document with half of all questions limits it to four, no matter how many others have one question each.
    """
    return sum(sizes) ** 2 / sum(size**2 for size in sizes)


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
    counts = _counts_of_clusters(len(names), resamples, seed)
    amounts, weights = counts @ sums[0], counts @ sums[1]
    drawn: Floats = amounts / weights
    return drawn


@lru_cache(maxsize=8)  # the metrics of all models share a few numbers of clusters
def _counts_of_clusters(clusters: int, resamples: int, seed: int) -> Floats:
    """Return how often each cluster is drawn in each resample: [resamples, clusters]."""
    shares = np.full(clusters, 1 / clusters)
    return np.random.default_rng(seed).multinomial(clusters, shares, size=resamples).astype(np.float64)


def _percentiles(drawn: Floats) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
