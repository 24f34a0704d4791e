"""Held-out diagnostics of a reward model: pairwise accuracy, length bias and calibration, and what to do about them.

Accuracy over all pairs can be high where that on the policy's own samples, which online training scores, is not: a
refusal or the answer to another question is easy to reject. Length is the most frequent shortcut (Singhal et al. 2023,
arXiv:2310.03716).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, expit

from pipelines.alignment.sequences import Pair
from pipelines.curation.schema import PreferencePair

OWN = frozenset({"sample", "judge", "score", "reward"})
"""Provenances of pairs with a sample of the policy."""
BINS = 10
"""Equal bins of the probability of the preferred answer, from 0.5 to 1."""
MAX_LENGTH_CORRELATION = 0.5
ALPHA = 0.05


@dataclass(frozen=True)
class HeldOut:
    """N held-out pairs and their scores."""

    pairs: Sequence[PreferencePair]
    encoded: Sequence[Pair]
    """The pairs as tokens."""
    chosen: Sequence[float]
    rejected: Sequence[float]

    @property
    def correct(self) -> list[bool]:
        """Whether the chosen answer of each pair scores higher; a tie counts as wrong."""
        return [better > worse for better, worse in zip(self.chosen, self.rejected, strict=True)]

    def metrics(self) -> dict[str, float]:
        """Return the diagnostics by name, each beginning with `held_out_`; one without pairs is left out."""
        if not self.pairs:
            return {}
        brier, error = calibration(np.subtract(self.chosen, self.rejected))
        found = self._accuracies() | {
            "held_out_brier": brier,
            "held_out_calibration_error": error,
            "held_out_score_chosen": float(np.mean(self.chosen)),
            "held_out_score_rejected": float(np.mean(self.rejected)),
        }
        correlation = self.length_correlation()
        return found if correlation is None else found | {"held_out_length_correlation": correlation}

    def length_correlation(self) -> float | None:
        """Return Pearson's correlation of score and length in tokens, over the distinct answers.

        None if one of them is constant.
        """
        scores = {
            (tuple(prompt), tuple(answer)): score
            for side, values in enumerate((self.chosen, self.rejected))
            for (prompt, answer), score in zip((pair[side] for pair in self.encoded), values, strict=True)
        }
        lengths, values = [len(answer) for _, answer in scores], list(scores.values())
        if len(set(lengths)) < 2 or len(set(values)) < 2:
            return None
        return float(np.corrcoef(lengths, values)[0, 1])

    def warnings(self) -> Iterator[str]:
        """Yield a sentence if the accuracy on the policy's samples may be chance, and one if scores follow length."""
        own = [right for right, pair in zip(self.correct, self.pairs, strict=True) if pair.provenance in OWN]
        if own and (low := lower_bound(sum(own), len(own))) <= 0.5:
            yield (
                f"the reward model is right on {sum(own)} of {len(own)} held-out pairs of the policy's own samples, "
                f"which may be chance (exact 95% interval from {low:.0%}); make more pairs (pairs.prompts, "
                "pairs.samples), or reward with verdict or judge instead of model."
            )
        correlation = self.length_correlation()
        if correlation is not None and abs(correlation) > MAX_LENGTH_CORRELATION:
            yield (
                f"the reward model's scores follow the length of answers (correlation {correlation:.2f} on held-out "
                f"pairs), so that online training would make them {'longer' if correlation > 0 else 'shorter'}; lower "
                "pairs.max_length_ratio, or reward with verdict or judge too."
            )

    def _accuracies(self) -> dict[str, float]:
        groups: dict[str, list[bool]] = {}
        for pair, ((_, better), (_, worse)), right in zip(self.pairs, self.encoded, self.correct, strict=True):
            groups.setdefault("held_out_accuracy", []).append(right)
            groups.setdefault(f"held_out_accuracy_{pair.provenance}", []).append(right)
            if len(better) < len(worse):
                groups.setdefault("held_out_accuracy_if_shorter", []).append(right)
        return {name: sum(group) / len(group) for name, group in sorted(groups.items())}


def calibration(margins: np.ndarray) -> tuple[float, float]:
    """Return the Brier score and the expected calibration error of sigmoid(margin), for margins [N] chosen - rejected.

    The error is the mean over `BINS` of |accuracy - confidence|, weighted by their pairs (Guo et al. 2017,
    arXiv:1706.04599), where the confidence is the probability of the answer with the higher score. Equal scores for all
    give 0.25 and, as ties count as wrong, 0.5.
    """
    confidence, correct = expit(np.abs(margins)), margins > 0
    place = np.minimum((2 * BINS * (confidence - 0.5)).astype(int), BINS - 1)
    gaps = np.bincount(place, correct - confidence, minlength=BINS)
    return float(np.mean((1 - expit(margins)) ** 2)), float(np.abs(gaps).sum() / len(margins))


def lower_bound(successes: int, trials: int) -> float:
    """Return the lower end of the exact 95% interval of a share (Clopper and Pearson 1934)."""
    return float(betaincinv(successes, trials - successes + 1, ALPHA / 2)) if successes else 0.0
