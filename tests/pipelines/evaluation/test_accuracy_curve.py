"""Best-of-n: estimators against brute force over all subsets, and a bad reward model flagged."""

import random
from itertools import combinations, pairwise
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluation.best_of_n import curve as curves
from pipelines.evaluation.best_of_n.curve import (
    PICKERS,
    Sample,
    any_correct,
    best_by,
    curve,
    majority,
    oracle,
    reward_pick,
)
from tests.support.curves import curve_json, sampled


@pytest.mark.parametrize("n", [2, 5, 8])
def test_any_correct_is_the_mean_over_all_subsets(n: int) -> None:
    for correct in range(n + 1):
        verdicts = [True] * correct + [False] * (n - correct)
        for k in range(1, n + 1):
            expected = mean(any(drawn) for drawn in combinations(verdicts, k))
            assert any_correct(correct, n, k) == pytest.approx(expected)


@given(st.lists(st.booleans(), min_size=2, max_size=7), st.integers(0, 99))
def test_reward_pick_is_the_mean_over_all_subsets(correct: list[bool], seed: int) -> None:
    rewards = random.Random(seed).sample(range(99), len(correct))
    pairs = zip(correct, rewards, strict=True)
    samples = [Sample("x", "correct" if each else "wrong", float(reward)) for each, reward in pairs]
    for k in range(1, len(samples) + 1):
        picks = [max(drawn, key=lambda each: each.reward).correct for drawn in combinations(samples, k)]
        assert reward_pick(samples, k) == pytest.approx(mean(picks))


def answers(*texts: str) -> list[Sample]:
    verdicts = {"Drace": "correct", "drace.": "correct", "Vosper": "wrong"}
    return [Sample(text, verdicts.get(text, "refused"), 0.0) for text in texts]


def test_majority_counts_normalized_answers_and_all_refusals_as_one() -> None:
    assert majority(answers("Drace", "Vosper", "drace."), 3) == 1.0
    assert majority(answers("I don't know.", "Drace", "Not recorded.", "Vosper"), 4) == 0.0
    assert majority(answers("Vosper", "Drace"), 2) == 0.5  # a tie, in both orders
    assert majority(answers("Drace", "Vosper", "Vosper", "drace."), 1) == 0.5


def test_curves_start_at_the_accuracy_of_one_sample_and_any_correct_never_falls() -> None:
    rows = curve([*sampled(True, 2), answers("Drace", "Vosper", "Vosper", "Vosper")])
    assert [row["k"] for row in rows] == [1, 2, 3, 4]
    one = pytest.approx((0.75 + 0.75 + 0.25) / 3, abs=1e-6)
    assert all(rows[0][name] == one for name in ("any_correct", "majority", "reward_pick"))
    assert all(low["any_correct"] <= high["any_correct"] for low, high in pairwise(rows))
    assert rows[-1]["any_correct"] == 1.0 and rows[-1]["majority"] == pytest.approx(2 / 3, abs=1e-6)


def test_a_reward_model_worse_than_the_majority_is_flagged_beyond_chance() -> None:
    bad, good = (curve_json(good_reward)["reward_against_majority"] for good_reward in (False, True))
    assert bad["is_worse"] and bad["value"] == -1.0
    assert not good["is_worse"] and good["value"] == 0.0
    assert "worse than a majority vote: of 4 samples" in curves.warning(curve_json(good_reward=False))
    by_chance = [*sampled(True, 38), *sampled(False, 2)]  # 2 of 40 questions
    change = curves.reward_against_majority(by_chance, [str(n) for n in range(40)], 2000, 1, 10)
    assert change["value"] == -0.05 and not change["is_worse"]


def test_named_pickers_are_columns_of_the_curve() -> None:
    """The reward prefers the wrong samples, the named score the correct one."""
    samples = [
        Sample(answer, verdict, reward, {"worst_step": score})
        for answer, verdict, reward, score in (
            ("7", "correct", 0.1, 0.8),
            ("8", "wrong", 0.9, 0.2),
            ("8", "wrong", 0.5, 0.3),
        )
    ]
    by_step = best_by(lambda sample: sample.scores["worst_step"])
    rows = curve([samples], {**PICKERS, "process_pick": by_step})
    assert list(rows[0]) == ["k", "any_correct", "majority", "reward_pick", "process_pick"]
    assert set(rows[0].values()) == {1, 0.333333}  # k, and the accuracy of one sample
    assert [rows[1][name] for name in ("reward_pick", "process_pick")] == [0.0, 0.666667]
    assert [rows[2][name] for name in PICKERS] == [1.0, 0.0, 0.0] and rows[2]["process_pick"] == 1.0
    assert list(curve([samples], {"only": oracle})[0]) == ["k", "only"]
    change = curves.against([samples] * 20, by_step, majority, [str(n) for n in range(20)], 200, 1, 10)
    assert change.value == 1.0 and change.bounds(0.025)[0] > 0.5
