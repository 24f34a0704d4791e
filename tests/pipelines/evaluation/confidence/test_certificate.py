"""Certified thresholds: their guarantee and power in simulation, and what is missing without one."""

import numpy as np
import pytest

from pipelines.evaluation.confidence.certificate import Certificate, Scored, certify, describe, p_value

ALPHA = 0.05


def draw(rng: np.random.Generator, count: int, separation: float, correlation: float = 0.0) -> Scored:
    """Return answers of which half are wrong, about ten per document; correct ones are `separation` standard
    deviations more confident."""
    documents = rng.integers(0, max(count // 10, 1), count)
    wrong = rng.normal(size=count) + correlation * rng.normal(size=documents.max() + 1)[documents] < 0
    return Scored(~wrong * separation + rng.normal(size=count), wrong, documents.astype(str).tolist())


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_guarantee_holds_and_good_confidence_is_certified(correlation: float) -> None:
    rng, draws = np.random.default_rng(7), 200
    found = [
        certify(draw(rng, 100, 2.2, correlation), draw(rng, 250, 2.2, correlation), 0.2, ALPHA, 350)
        for _ in range(draws)
    ]
    many = draw(rng, 50_000, 2.2, correlation)
    thresholds = [each.threshold for each in found if each.threshold is not None]
    violated = [many.wrong[many.above(threshold)].mean() > 0.2 for threshold in thresholds]
    assert sum(violated) <= ALPHA * draws
    assert len(thresholds) >= 0.8 * draws
    kept = [(many.above(threshold) & ~many.wrong).sum() / (~many.wrong).sum() for threshold in thresholds]
    assert np.mean(kept) > 0.6


def test_confidence_without_information_is_hardly_ever_certified() -> None:
    rng = np.random.default_rng(8)
    found = [certify(draw(rng, 100, 0.0), draw(rng, 250, 0.0), 0.2, ALPHA, 350) for _ in range(100)]
    assert sum(each.threshold is not None for each in found) <= 5
    (missing,) = {describe(each) for each in found if each.threshold is None and each.more_questions is None}
    assert missing == (
        "on 250 calibration answers, no confidence is certified to keep wrong answers below 20%, and more questions "
        "of this kind may not suffice; raise calibrate.max_wrong."
    )


def test_answers_that_are_all_correct_need_as_many_as_the_binomial_bound_says() -> None:
    few, enough = (
        Scored(np.full(count, 0.9), np.zeros(count, bool), [str(each) for each in range(count)]) for count in (58, 59)
    )
    assert p_value(few, 0.5, 0.05) > ALPHA >= p_value(enough, 0.5, 0.05)
    missing = certify(few, few, 0.05, ALPHA, 116)
    assert missing.threshold is None and missing.more_questions == 78
    assert describe(missing) == (
        "on 58 calibration answers, no confidence is certified to keep wrong answers below 5%; "
        "about 78 more calibration questions, or a higher calibrate.max_wrong, would probably do."
    )
    found = certify(enough, enough, 0.05, ALPHA, 118)
    assert (found.threshold, found.answered, found.wrong) == (0.9, 59, 0)
    assert "at most 5% of the answers with a confidence of 0.90 or more are wrong" in describe(found)


def test_as_many_more_questions_as_suggested_certify_a_threshold_more_often_than_not() -> None:
    """Of 90 questions, two thirds are answered, and a third of the answers proposes the order."""

    def certified(questions: int) -> Certificate:
        answers = int(rng.binomial(questions, 2 / 3))
        return certify(draw(rng, answers // 3, 2.2), draw(rng, answers - answers // 3, 2.2), 0.1, ALPHA, questions)

    rng = np.random.default_rng(9)
    suggested = [each.more_questions for each in (certified(90) for _ in range(150)) if each.more_questions]
    assert len(suggested) > 40
    assert np.mean([certified(90 + more).threshold is not None for more in suggested]) > 0.5


def test_answers_about_one_document_count_less_than_independent_ones() -> None:
    wrong = np.asarray([True, True, True, *[False] * 57])
    together = Scored(np.ones(60), wrong, [str(place // 3) for place in range(60)])
    apart = Scored(np.ones(60), wrong, [str(place) for place in range(60)])
    assert p_value(together, 0.5, 0.2) > p_value(apart, 0.5, 0.2)


def test_nothing_is_certified_without_answers() -> None:
    none = Scored(np.zeros(0), np.zeros(0, bool), [])
    found = certify(none, none, 0.2, ALPHA, 10)
    assert found.threshold is None and found.more_questions is None
