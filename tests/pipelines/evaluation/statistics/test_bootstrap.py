"""Properties of the bootstrap intervals and paired differences."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluation.metrics import METRICS
from pipelines.evaluation.statistics.bootstrap import Difference, Unit, difference, interval, unchanged, value


def flips(clusters: int, each: int) -> list[Unit]:
    return [Unit(str(cluster), float(cluster % 2)) for cluster in range(clusters) for _ in range(each)]


def test_interval_is_binomial_when_every_question_is_its_own_cluster() -> None:
    low, high = interval(flips(100, 1), 4000, 0, 10, share=True)
    assert (low, high) == pytest.approx((0.40, 0.60), abs=0.011)  # 0.5 ± 1.96 · sqrt(0.25 / 100)


def test_correlated_questions_do_not_narrow_the_interval() -> None:
    single, fourfold = interval(flips(25, 1), 2000, 0, 10, share=True), interval(flips(25, 4), 2000, 0, 10, share=True)
    apart = [Unit(str(index), unit.amount) for index, unit in enumerate(flips(25, 4))]
    assert fourfold == single
    narrow = interval(apart, 2000, 0, 10, share=True)
    assert narrow[1] - narrow[0] < 0.6 * (fourfold[1] - fourfold[0])


def test_bootstrap_depends_on_the_seed_and_not_on_row_order() -> None:
    rows = [Unit(str(index), index / 10) for index in range(10)]
    assert interval(rows, 200, 3, 10, share=True) == interval(list(reversed(rows)), 200, 3, 10, share=True)
    assert interval(rows, 200, 3, 10, share=True) != interval(rows, 200, 4, 10, share=True)


def test_all_or_none_of_fifty_has_an_exact_binomial_interval() -> None:
    never = [Unit(str(index), 0.0) for index in range(50)]
    always = [Unit(str(index), 1.0) for index in range(50)]
    assert [*interval(never, 100, 0, 10, share=True)] == [0.0, pytest.approx(0.0711, abs=1e-4)]
    assert [*interval(always, 100, 0, 10, share=True)] == [pytest.approx(0.9289, abs=1e-4), 1.0]
    assert interval(never, 100, 0, 10, share=False) == (0.0, 0.0)


def test_paired_difference_has_a_narrower_interval_than_its_parts() -> None:
    before = flips(200, 1)
    after = [Unit(unit.cluster, 1.0 if int(unit.cluster) < 30 else unit.amount) for unit in before]
    change = difference(after, before, 2000, 0, 10)
    low, high = change.bounds(0.025)
    alone = interval(before, 2000, 0, 10, share=True)
    assert change.value == pytest.approx(15 / 200)
    assert low < change.value < high
    assert high - low < 0.8 * (alone[1] - alone[0])


def test_no_difference_on_few_questions_excludes_little() -> None:
    change = difference(flips(60, 1), flips(60, 1), 2000, 0, 10)
    reach = 0.0704  # (2 + t sqrt(2)) / 62, with t = 1.671; the exact bound, 1 - 0.05^(1/60), is 0.0487
    assert change.bounds(0.05) == pytest.approx((-reach, reach), abs=1e-4)
    assert unchanged(60, (-1.0, 0.0)).bounds(0.05) == pytest.approx((-reach, 0.0), abs=1e-4)  # of a refusal rate of 0


def test_one_loss_excludes_less_than_none() -> None:
    before = [Unit(str(index), 1.0) for index in range(90)]
    lost = [replace(unit, amount=0.0) if unit.cluster == "0" else unit for unit in before]
    none, one = (difference(after, before, 2000, 0, 10).bounds(0.005)[0] for after in (before, lost))
    assert one < none < 0


def test_bounds_stay_within_what_is_possible() -> None:
    before, after = ([Unit(str(index), amount) for index in range(3)] for amount in (1.0, 0.0))
    limits = METRICS["score"].change_limits
    assert limits == (-4.0, 4.0)
    low, high = difference(after, before, 2000, 0, 10, limits).bounds(0.05)
    assert low == -4.0 and high > 0  # three refusals instead of three correct answers prove nothing
    low, high = difference(after, before, 2000, 0, 10, None).bounds(0.05)
    assert low == high == -1.0


def test_loss_beyond_the_limit_is_excluded_at_most_as_often_as_stated() -> None:
    """A share of 3% of losses, the limit, passes on 250 and 488 questions in at most 0.5% of 20,000 samples."""
    generator, alpha, limit = np.random.default_rng(0), 0.005, 0.03
    for size in (250, 488):
        losses, times = np.unique(generator.binomial(size, limit, 20_000), return_counts=True)
        changes = (
            Difference(-share, np.zeros(1), (share * (1 - share) / (size - 1)) ** 0.5, size, size, (-1.0, 1.0))
            for share in losses / size
        )
        passed = [change.t_bound(alpha, upper=False) > -limit for change in changes]
        assert 0 < times[passed].sum() / times.sum() <= alpha


def test_detectable_effect_is_that_of_the_t_bound() -> None:
    before = [Unit(str(index), 0.0) for index in range(300)]
    after = [Unit(str(index), [1.0, -1.0, 0, 0, 0, 0, 0, 0, 0, 0][index % 10]) for index in range(300)]
    change = difference(after, before, 2000, 0, 10)
    gain, loss = (change.detectable(0.025, upper=upper) for upper in (False, True))
    assert loss == pytest.approx(gain)
    assert gain == pytest.approx(0.080, abs=0.001)  # 300 questions of which 20% differ
    assert unchanged(113, (-1.0, 1.0)).detectable(0.005, upper=False) == pytest.approx(0.05, abs=0.001)


def test_difference_of_different_questions_raises() -> None:
    with pytest.raises(ValueError, match="same questions"):
        difference(flips(4, 1), flips(5, 1), 10, 0, 10)


def test_questions_are_resampled_when_there_are_too_few_documents() -> None:
    one = [Unit("book", float(index % 2)) for index in range(40)]
    apart = [Unit(str(index), unit.amount) for index, unit in enumerate(one)]
    low, high = interval(one, 2000, 0, 10, share=True)
    assert (low, high) == pytest.approx(interval(apart, 2000, 0, 10, share=True), abs=0.03) and high - low > 0.2
    mixed = one + [Unit(f"u{index}", 1.0) for index in range(20)]  # unanswerable questions have no document
    assert interval(mixed, 2000, 0, 10, share=True)[0] < value(mixed) - 0.08
    better = [Unit("book", 1.0 if index < 10 else unit.amount) for index, unit in enumerate(one)]
    change = difference(better, one, 2000, 0, 10)
    low, high = change.bounds(0.025)
    assert change.value == pytest.approx(5 / 40)
    assert low < change.value < high


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60))
def test_interval_contains_the_value_and_is_never_a_point(answers: list[tuple[int, bool]]) -> None:
    rows = [Unit(str(cluster), float(right)) for cluster, right in answers]
    low, high = interval(rows, 500, 0, 10, share=True)
    assert 0 <= low <= value(rows) <= high <= 1
    assert low < high
