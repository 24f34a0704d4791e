"""A threshold with a guarantee: of the answers above it, at most a given share is wrong. Reads and writes nothing.

Learn then test (Angelopoulos et al. 2021, arXiv:2110.01052): every threshold is a hypothesis that too many of the
answers above it are wrong, and the chosen threshold is one whose hypothesis is rejected. The thresholds are tested in
an order fixed beforehand, on other questions, until one is not rejected; then all tests share one error probability
(fixed sequence testing, in the order of Laufer-Goldshtein et al. 2023, arXiv:2210.07913: the smallest p-value first).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

Floats = NDArray[np.float64]
GRID = 50
"""Thresholds that are tested, evenly spaced in the share of answers above them."""
POWER = 0.8
"""Probability with which the suggested number of further questions certifies a threshold."""
MAX_MORE_QUESTIONS = 5_000
"""Beyond this, no number of further questions is suggested."""


@dataclass(frozen=True)
class Scored:
    """Answers with their confidence. Refusals are no answers."""

    confidence: Floats
    """[n], higher is more certain."""
    wrong: NDArray[np.bool_]
    """[n]"""
    clusters: Sequence[str]
    """[n] documents; answers about one document may be right or wrong together."""

    def above(self, threshold: float) -> NDArray[np.bool_]:
        """Return a mask [n] of the answers that are given."""
        return self.confidence >= threshold


@dataclass(frozen=True)
class Certificate:
    """What is known about the share of wrong answers above a threshold."""

    threshold: float | None
    """None if no threshold is certified."""
    max_wrong: float
    alpha: float
    answered: int
    """Calibration answers above the threshold."""
    wrong: int
    """Wrong ones among them."""
    questions: int
    """Calibration answers that the threshold was tested on."""
    more_questions: int | None
    """Without a threshold: further calibration questions after which one would be certified with a probability of about
    `POWER`; None if even `MAX_MORE_QUESTIONS` may not suffice."""


def certify(ordering: Scored, testing: Scored, max_wrong: float, alpha: float, asked: int) -> Certificate:
    """Return the lowest certified threshold: of the answers above it at most `max_wrong` are wrong.

    The probability that more are, over draws of the calibration questions, is at most `alpha`. `ordering` proposes the
    order of the thresholds, and the guarantee rests on `testing` alone. `asked` counts the calibration questions, those
    refused and those of `ordering` included.
    """
    ranked = sorted(_thresholds(testing), key=lambda each: (p_value(ordering, each, max_wrong), each))
    certified: list[float] = []
    for threshold in ranked:
        if p_value(testing, threshold, max_wrong) > alpha:
            break
        certified.append(float(threshold))
    best = min(certified, default=None)
    given = testing.above(best) if best is not None else np.zeros(len(testing.confidence), np.bool_)
    return Certificate(
        best,
        max_wrong,
        alpha,
        answered=int(given.sum()),
        wrong=int((given & testing.wrong).sum()),
        questions=len(testing.confidence),
        more_questions=None
        if best is not None or not ranked
        else _more_questions(testing, ranked[0], max_wrong, alpha, asked),
    )


def describe(found: Certificate) -> str:
    """Return a certificate as a sentence."""
    limit, level = f"{100 * found.max_wrong:g}%", f"{100 * (1 - found.alpha):g}%"
    if found.threshold is not None:
        return (
            f"at most {limit} of the answers with a confidence of {found.threshold:.2f} or more are wrong, by a test "
            f"at the level {level}: {found.wrong} of {found.answered} calibration answers above it are."
        )
    tested = f"on {found.questions} calibration answers, no confidence is certified to keep wrong answers below {limit}"
    if found.more_questions is None:
        return f"{tested}, and more questions of this kind may not suffice; raise calibrate.max_wrong."
    return (
        f"{tested}; about {found.more_questions} more calibration questions, or a higher calibrate.max_wrong, would "
        "probably do."
    )


def _thresholds(testing: Scored) -> list[float]:
    found = testing.confidence
    return sorted(set(np.quantile(found, np.linspace(0, 1, GRID, endpoint=False)).tolist())) if len(found) else []


def p_value(scored: Scored, threshold: float, max_wrong: float) -> float:
    """Return the probability of so few wrong answers above `threshold` if a share of `max_wrong` were wrong.

    Exact binomial test. Answers about one document are correlated, so both counts are divided by the design effect
    (Kish 1965): the variance of the share of wrong answers over documents, relative to that of independent answers.
    """
    given = scored.above(threshold)
    count, wrong = int(given.sum()), int((given & scored.wrong).sum())
    if not count:
        return 1.0
    effect = _design_effect(scored, given)
    if count < effect:
        return 1.0
    return float(bdtr(ceil(wrong / effect), int(count / effect), max_wrong))


def _design_effect(scored: Scored, given: NDArray[np.bool_]) -> float:
    """Return the factor by which clustering raises the variance of the share of wrong answers; at least 1."""
    wrong = scored.wrong[given].astype(float)
    share = float(wrong.mean())
    _, cluster = np.unique(np.asarray(scored.clusters)[given], return_inverse=True)
    groups = int(cluster.max()) + 1
    if share in (0.0, 1.0) or groups < 2:
        return 1.0
    sums = np.bincount(cluster, wrong - share)
    clustered = groups / (groups - 1) * float(np.square(sums).sum())
    return max(1.0, clustered / (len(wrong) * share * (1 - share)))


def _more_questions(testing: Scored, threshold: float, max_wrong: float, alpha: float, asked: int) -> int | None:
    """Return how many further questions would certify `threshold`, the first in the order.

    They are assumed to be answered, to be above the threshold and to be about few documents as often as those seen. The
    share of wrong answers is estimated with Jeffreys' prior, since no wrong answer among few does not mean that there
    are none.
    """
    given = testing.above(threshold)
    count, wrong = int(given.sum()), int((given & testing.wrong).sum())
    needed = _answers_needed((wrong + 0.5) / (count + 1), max_wrong, alpha)
    if needed is None:
        return None
    more = ceil((needed * _design_effect(testing, given) / count - 1) * asked)
    return more if 0 < more <= MAX_MORE_QUESTIONS else None


def _answers_needed(rate: float, max_wrong: float, alpha: float) -> int | None:
    """Return the independent answers on which the test rejects with probability `POWER` if a share `rate` is wrong."""
    count = 1
    while rate < max_wrong and count <= MAX_MORE_QUESTIONS:
        rejected = int((bdtr(np.arange(count + 1), count, max_wrong) <= alpha).sum())  # with fewer wrong answers
        if rejected and bdtr(rejected - 1, count, rate) >= POWER:
            return count
        count = ceil(count * 1.05)
    return None
