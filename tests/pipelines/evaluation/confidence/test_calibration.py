"""Calibrating the confidence: the fitted estimator, its JSON form, abstention, and the risk-coverage curve."""

import json

import numpy as np
import pytest

from pipelines.artifacts import Row
from pipelines.config import load
from pipelines.evaluation.confidence.calibration import (
    Confidence,
    abstaining,
    auroc,
    calibrate,
    risk_coverage,
)
from pipelines.evaluation.confidence.signal_names import SIGNALS
from pipelines.evaluation.verdicts.invented import is_attempt
from tests.conftest import ROOT
from tests.support.confidences import confidence_json

CONFIG = load(ROOT / "params.yaml").calibrate


def answered(count: int, seed: int = 0) -> tuple[list[Row], np.ndarray]:
    """Return answers, half of them correct, and their signals, of which only the first tells which."""
    rng = np.random.default_rng(seed)
    correct = rng.random(count) < 0.5
    values = rng.normal(size=(count, len(SIGNALS)))
    values[:, 0] += 3.0 * correct
    rows = [
        {"id": str(place), "set": "answerable", "cluster": f"{place % 40}", "verdict": "correct" if each else "wrong"}
        for place, each in enumerate(correct)
    ]
    return rows, values


def test_estimator_weighs_the_signal_that_tells_and_is_calibrated() -> None:
    confidence = calibrate(*answered(600), CONFIG.model_copy(update={"penalty": 0.1}), 10, 600)
    rows, values = answered(4000, seed=1)
    estimates = confidence.estimates(values)
    found = auroc(rows, values, estimates)
    assert set(found) == {*SIGNALS, "confidence"}
    assert found["confidence"] > 0.95 and abs(found["echo"] - 0.5) < 0.05
    correct = np.asarray([row["verdict"] == "correct" for row in rows])
    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.0)):
        part = (estimates >= low) & (estimates < high)
        assert estimates[part].mean() == pytest.approx(correct[part].mean(), abs=0.12)
    assert confidence.threshold is not None
    given = estimates >= confidence.threshold
    assert (~correct)[given].mean() <= CONFIG.max_wrong


def test_confidence_survives_json() -> None:
    rows, values = answered(600)
    confidence = calibrate(rows, values, CONFIG, 10, 600)
    read = Confidence.of(json.loads(json.dumps({"candidate": "sft", **confidence.as_row(), "auroc": {}})))
    assert read == confidence
    assert np.array_equal(read.estimates(values), confidence.estimates(values))


def test_too_few_answers_give_no_estimator_and_say_how_many_are_missing() -> None:
    rows, values = answered(20)
    confidence, refused = (calibrate(rows, values, CONFIG, 10, asked) for asked in (20, 40))
    assert confidence.estimator is None and confidence.threshold is None
    assert confidence.certificate.more_questions is not None and confidence.certificate.more_questions > 10
    assert refused.certificate.more_questions == pytest.approx(2 * confidence.certificate.more_questions, abs=1)
    assert calibrate([], values[:0], CONFIG, 10, 20).certificate.more_questions is None
    assert np.allclose(confidence.estimates(values), np.exp(values[:, 0]))


@pytest.mark.parametrize("count", [48, 80], ids=["too few to certify on other documents", "too few for a certificate"])
def test_without_a_certificate_all_answers_fit_the_estimator_and_confident_ones_are_given(count: int) -> None:
    confidence = calibrate(*answered(count), CONFIG.model_copy(update={"max_wrong": 0.01}), 10, count)
    assert confidence.certificate.threshold is None and confidence.threshold == 0.75
    rows, values = answered(4000, seed=1)
    correct = np.asarray([row["verdict"] == "correct" for row in rows])
    given = confidence.estimates(values) >= confidence.threshold
    assert correct[given].mean() > 0.9 and given[correct].mean() > 0.6


@pytest.mark.parametrize("document", ["handbook.md", "manual.pdf", "book.txt"])
def test_answers_about_one_document_are_split_by_question(document: str) -> None:
    rows, values = answered(400)
    confidence = calibrate([{**row, "cluster": document} for row in rows], values, CONFIG, 10, 400)
    assert confidence.certificate.threshold is not None
    assert confidence.certificate.questions == 268  # two thirds test the thresholds


def test_documents_are_fitted_on_until_their_answers_are_the_share_wanted() -> None:
    rows, values = answered(600)
    sizes = [place % 120 // 8 + place % 3 for place in range(600)]  # documents of different size
    confidence = calibrate(
        [{**row, "cluster": f"{each}"} for row, each in zip(rows, sizes, strict=True)], values, CONFIG, 10, 600
    )
    assert confidence.certificate.questions == pytest.approx(600 * (1 - CONFIG.fit_share), abs=20)


def test_without_a_certificate_the_model_abstains_where_an_answer_lowers_the_expected_score() -> None:
    certified, uncertified = (Confidence.of(confidence_json(threshold)) for threshold in (0.6, None))
    assert (certified.threshold, uncertified.threshold) == (0.6, 0.75)
    assert "Without a guarantee, the model abstains below a confidence of 0.75" in uncertified.sentence
    assert "guarantee" not in certified.sentence
    unfitted = Confidence.of({**confidence_json(None), "estimator": None})
    assert unfitted.threshold is None and "abstains" not in unfitted.sentence


def test_abstaining_refuses_below_the_threshold_only() -> None:
    rows = [{"id": name, "verdict": "correct", "f1": 1.0} for name in ("sure", "unsure", "refused")]
    found = abstaining(rows, {"sure": 0.8, "unsure": 0.3}, 0.8)
    assert [row["verdict"] for row in found] == ["correct", "refused", "correct"]


def test_risk_coverage_adds_the_most_certain_answers_first() -> None:
    rows = [{"verdict": verdict} for verdict in ("wrong", "correct", "correct")]
    curve = risk_coverage(rows, np.asarray([0.2, 0.9, 0.5]), asked=4)
    assert [(row["coverage"], row["correct"]) for row in curve] == [(0.25, 0.25), (0.5, 0.5), (0.75, 0.5)]
    assert [row["risk"] for row in curve] == [0.0, 0.0, pytest.approx(1 / 3, abs=1e-6)]


def test_refusals_and_general_questions_are_no_attempts() -> None:
    assert is_attempt({"set": "unanswerable", "verdict": "wrong"})
    assert not is_attempt({"set": "unanswerable", "verdict": "refused"})
    assert not is_attempt({"set": "general", "verdict": "wrong"})
