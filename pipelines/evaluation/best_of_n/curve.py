"""Best-of-n accuracy as a curve over k = 1..n: any correct, majority vote, and the picks of reward models.

The gap between one sample and any correct is what a perfect choice would gain; a reward model is useful as far as its
pick closes it (best-of-n sampling: Stiennon et al. 2020, arXiv:2009.01325). A majority vote needs no reward model
(self-consistency, Wang et al. 2022, arXiv:2203.11171), so it is what the pick is measured against. Every point uses all
n samples of a question, so that the curve has less noise than one from the first k alone. Reads and writes nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb
from statistics import mean
from typing import Any

from pipelines.artifacts import Row
from pipelines.evaluation.statistics.bootstrap import Difference, Unit, difference
from pipelines.text.normalize import tokens

CURVE = "curve.json"
ANY, MAJORITY, REWARD = "any_correct", "majority", "reward_pick"
OUTCOME, PROCESS = "outcome_pick", "process_pick"


@dataclass(frozen=True)
class Sample:
    """One sampled answer, its verdict by the rules and its reward."""

    answer: str
    verdict: str
    reward: float
    scores: Mapping[str, float] = field(default_factory=dict)
    """Scores by other models, by name."""

    @property
    def correct(self) -> bool:
        """Whether the verdict is `correct`."""
        return self.verdict == "correct"

    @property
    def vote(self) -> str:
        """What a majority counts: the normalized answer; all refusals count as one."""
        return self.verdict if self.verdict == "refused" else " ".join(tokens(self.answer))


Picker = Callable[[Sequence[Sample], int], float]
"""Returns the expected accuracy of one choice among k of the n samples of a question, from the samples and k."""


def any_correct(correct: int, n: int, k: int) -> float:
    """Return the probability that one of `k` of `n` samples is correct, if `correct` of all are.

    This is the unbiased estimator of pass@k (Chen et al. 2021, arXiv:2107.03374).
    """
    return 1 - comb(n - correct, k) / comb(n, k)


def majority(samples: Sequence[Sample], k: int) -> float:
    """Return the accuracy of the most frequent answer among `k` samples, the first of them in a tie.

    It is averaged over the n windows of k consecutive samples (cyclic), in which each sample occurs equally often.
    """
    return mean(_majority([*samples, *samples][start : start + k]) for start in range(len(samples)))


def _majority(samples: Sequence[Sample]) -> bool:
    (most, _), *_ = Counter(sample.vote for sample in samples).most_common(1)
    return next(sample.correct for sample in samples if sample.vote == most)


def best_by(score: Callable[[Sample], float]) -> Picker:
    """Return the picker of the sample with the highest `score`: its expected accuracy, drawn without replacement.

    The sample at rank i (from 0) of n is the best of a draw of k with probability C(n-1-i, k-1) / C(n, k).
    """

    def pick(samples: Sequence[Sample], k: int) -> float:
        ranked, n = sorted(samples, key=lambda sample: -score(sample)), len(samples)
        return sum(comb(n - 1 - at, k - 1) * sample.correct for at, sample in enumerate(ranked)) / comb(n, k)

    return pick


def oracle(samples: Sequence[Sample], k: int) -> float:
    """Return `any_correct` of the samples: the accuracy of a perfect choice."""
    return any_correct(sum(sample.correct for sample in samples), len(samples), k)


reward_pick = best_by(lambda sample: sample.reward)
PICKERS: Mapping[str, Picker] = {ANY: oracle, MAJORITY: majority, REWARD: reward_pick}


def curve(sampled: Sequence[Sequence[Sample]], pickers: Mapping[str, Picker] = PICKERS) -> list[Row]:
    """Return one row per k: `k`, and the accuracy of every picker over the questions.

    All are the mean accuracy of one sample at k = 1. `sampled` holds n samples of each question.
    """
    return [
        {"k": k} | {name: round(mean(pick(each, k) for each in sampled), 6) for name, pick in pickers.items()}
        for k in range(1, len(sampled[0]) + 1)
    ]


def against(
    sampled: Sequence[Sequence[Sample]],
    picker: Picker,
    other: Picker,
    clusters: Sequence[str],
    resamples: int,
    seed: int,
    min_clusters: int,
) -> Difference:
    """Return the accuracy of `picker` minus that of `other` among all n samples, paired over the questions."""
    n = len(sampled[0])
    picked, others = (
        [Unit(cluster, choose(samples, n)) for cluster, samples in zip(clusters, sampled, strict=True)]
        for choose in (picker, other)
    )
    return difference(picked, others, resamples, seed, min_clusters)


def reward_against_majority(
    sampled: Sequence[Sequence[Sample]], clusters: Sequence[str], resamples: int, seed: int, min_clusters: int
) -> dict[str, Any]:
    """Return how much the reward model's pick among all n samples is better than their majority, in accuracy.

    `value` is the paired difference over the questions, `interval` its 95% interval, clustered by document, and
    `is_worse` whether the interval is below zero: the reward model is worse than none.
    """
    change = against(sampled, reward_pick, majority, clusters, resamples, seed, min_clusters)
    low, high = change.bounds(0.025)
    return {
        "value": round(change.value, 6),
        "interval": [round(low, 6), round(high, 6)],
        "is_worse": high < 0,
    }


def warning(result: Row) -> str:
    """Return the sentence about a reward model that is worse than a majority vote, from curve.json."""
    low, high = result["reward_against_majority"]["interval"]
    last = result["curve"][-1]
    return (
        f"The reward model picks worse than a majority vote: of {result['n']} samples its pick is correct for "
        f"{100 * last[REWARD]:.1f}% of the questions, the majority for {100 * last[MAJORITY]:.1f}% (difference "
        f"{100 * low:+.1f} to {100 * high:+.1f} points). Do not rank or align with it."
    )
