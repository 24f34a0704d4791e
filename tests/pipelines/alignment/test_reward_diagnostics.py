"""Held-out diagnostics of a reward model against values computed by hand, and their warnings."""

import numpy as np
import pytest
from scipy.stats import binomtest

from pipelines.alignment.reward_diagnostics import HeldOut, calibration, lower_bound
from pipelines.curation.schema import PreferencePair
from tests.support.rows import training_row

pytestmark = pytest.mark.slow


def found(*rows: tuple[str, int, int, float, float]) -> HeldOut:
    """Return pairs by provenance, lengths of the chosen and of the rejected answer, and their scores."""
    pairs = [PreferencePair.of(training_row("Who?", "Orla"), "Orla", "Jory", name, 1.0) for name, *_ in rows]
    encoded = [(([n], [n] * longer), ([n], [n] * shorter)) for n, (_, longer, shorter, *_) in enumerate(rows)]
    return HeldOut(pairs, encoded, [row[3] for row in rows], [row[4] for row in rows])


def test_metrics_equal_hand_computed_values() -> None:
    each = found(("sample", 4, 2, 1.0, 0.0), ("sample", 2, 4, 0.0, 2.0), ("refusal", 1, 3, 3.0, 1.0))
    metrics = each.metrics()
    assert each.correct == [True, False, True]
    assert metrics["held_out_accuracy"] == pytest.approx(2 / 3)
    assert (metrics["held_out_accuracy_sample"], metrics["held_out_accuracy_refusal"]) == (0.5, 1.0)
    assert metrics["held_out_accuracy_if_shorter"] == 0.5  # of the last two
    assert metrics["held_out_score_chosen"] == pytest.approx(4 / 3)
    assert metrics["held_out_score_rejected"] == pytest.approx(1.0)
    lengths, scores = [4, 2, 1, 2, 4, 3], [1.0, 0.0, 3.0, 0.0, 2.0, 1.0]
    assert metrics["held_out_length_correlation"] == pytest.approx(np.corrcoef(lengths, scores)[0, 1])
    right, wrong = 1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(2.0))
    assert metrics["held_out_brier"] == pytest.approx(
        ((1 - 1 / (1 + np.exp(-1.0))) ** 2 + (1 - wrong) ** 2 + (1 - right) ** 2) / 3
    )
    # confidence 0.731 in one bin, right; 0.881 twice in another, right once
    error = (1 - 1 / (1 + np.exp(-1.0))) / 3 + 2 / 3 * abs(0.5 - right)
    assert metrics["held_out_calibration_error"] == pytest.approx(error)


def test_no_pairs_give_no_metrics_and_no_warnings() -> None:
    each = HeldOut([], [], [], [])
    assert each.metrics() == {} and not list(each.warnings())


def test_equal_scores_have_no_correlation_and_the_brier_score_of_chance() -> None:
    metrics = found(("sample", 4, 2, 1.0, 1.0), ("sample", 2, 3, 1.0, 1.0)).metrics()
    assert metrics["held_out_brier"] == pytest.approx(0.25) and metrics["held_out_calibration_error"] == 0.5
    assert "held_out_length_correlation" not in metrics


def test_calibrated_probabilities_have_no_calibration_error() -> None:
    margin = float(np.log(3))  # probability 0.75
    assert calibration(np.array([margin, margin, margin, -margin]))[1] == pytest.approx(0.0, abs=1e-12)
    assert calibration(np.array([-margin] * 4))[1] == pytest.approx(0.75)
    assert calibration(np.array([800.0, -800.0])) == (0.5, 0.5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (26, 42), (3, 10)])
def test_bound_is_the_exact_binomial_one(successes: int, trials: int) -> None:
    wanted = binomtest(successes, trials).proportion_ci(0.95, method="exact").low
    assert lower_bound(successes, trials) == pytest.approx(wanted, abs=1e-9)


def test_accuracy_that_may_be_chance_and_scores_that_follow_length_are_warned_of() -> None:
    easy = [("refusal", 3, 3, 1.0, 0.0)] * 20
    own = [("sample", 3, 3, 1.0, 0.0)] * 26 + [("sample", 3, 3, 0.0, 1.0)] * 16
    (sentence,) = found(*easy, *own).warnings()
    assert "right on 26 of 42 held-out pairs of the policy's own samples" in sentence and "from 46%" in sentence
    certain = [("sample", 3, 3, 1.0, 0.0)] * 26
    assert not list(found(*easy, *certain).warnings()) and not list(found(*easy).warnings())
    for sign, way in ((1, "longer"), (-1, "shorter")):
        (sentence,) = found(*[("refusal", n, 1, sign * float(n), float(-sign)) for n in range(2, 9)]).warnings()
        assert "follow the length of answers" in sentence and f"make them {way}" in sentence
