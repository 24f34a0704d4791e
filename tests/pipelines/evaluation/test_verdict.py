"""Selection of the candidate, and the gate."""

from typing import Any

import pytest

from pipelines.evaluation.verdict import candidate, verdict


def model(
    accuracy: float, hallucination: float, general: float, *, low: float = 0.1, validation: Any = None
) -> dict[str, Any]:
    """Return a model's metrics; `low` is the lower bound of its gain over the baseline."""
    numbers: dict[str, Any] = {
        "answer_accuracy": accuracy,
        "hallucination_rate": hallucination,
        "general_accuracy": general,
    }
    numbers["refusal_recall"] = 0.5
    change = {name: {"value": 0.0, "interval": [-0.2, 0.2]} for name in numbers}
    change["answer_accuracy"] = {"value": accuracy, "interval": [low, low + 0.2]}
    return {**numbers, "validation": validation or numbers, "differences": {"base": change}}


BASE = model(0.02, 0.9, 0.80)


def gate(now: dict[str, Any]) -> dict[str, Any]:
    return verdict({"base": BASE, "dpo": now}, "dpo", "base", max_general_drop=0.03, max_hallucination_rise=0.0)


def test_better_model_passes_with_a_drop_of_exactly_the_limit() -> None:
    result = gate(model(0.5, 0.3, 0.77))
    assert result["passed"] is True
    assert result["reasons"] == []
    assert [check["passed"] for check in result["checks"]] == [True, True, True]


def test_insignificant_gain_fails() -> None:
    result = gate(model(0.08, 0.3, 0.8, low=-0.01))
    assert result["passed"] is False
    assert len(result["reasons"]) == 1
    assert "Accuracy: 2.0% before, 8.0% now" in result["reasons"][0]
    assert "-1.0 to +19.0 points" in result["reasons"][0]


def test_hallucination_and_forgetting_beyond_the_limits_fail_with_reasons() -> None:
    result = gate(model(0.5, 0.91, 0.76))
    assert result["passed"] is False
    assert [check["passed"] for check in result["checks"]] == [True, False, False]
    assert "Hallucination rate: 90.0% before, 91.0% now" in result["reasons"][0]
    assert "General accuracy: 80.0% before, 76.0% now" in result["reasons"][1]


def without(numbers: dict[str, Any], metric: str) -> dict[str, Any]:
    """Return the metrics of a model without `metric`."""
    left = {name: value for name, value in numbers.items() if name != metric}
    return {**left, "validation": {name: value for name, value in numbers["validation"].items() if name != metric}}


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("general_accuracy", "General accuracy: not measured, because there is no general test question."),
        ("refusal_recall", "Hallucination rate: not measured, because there is no unanswerable test question."),
    ],
)
def test_unmeasured_metric_fails(metric: str, sentence: str) -> None:
    models = {name: without(numbers, metric) for name, numbers in (("base", BASE), ("dpo", model(0.5, 0.3, 0.8)))}
    assert candidate(models, "base", 0.03, 0.0) == "dpo"
    assert verdict(models, "dpo", "base", 0.03, 0.0)["reasons"] == [sentence]


def choose(**models: dict[str, Any]) -> str:
    return candidate({"base": BASE, **models}, "base", max_general_drop=0.03, max_hallucination_rise=0.0)


def test_candidate_is_selected_on_validation_questions_only() -> None:
    lucky = model(0.9, 0.0, 0.8, validation=model(0.4, 0.5, 0.8))
    sound = model(0.5, 0.4, 0.8, validation=model(0.5, 0.3, 0.8))
    assert choose(sft=lucky, dpo=sound) == "dpo"


def test_model_beyond_the_limits_is_candidate_only_if_all_are() -> None:
    assert choose(sft=model(0.4, 0.4, 0.8), dpo=model(0.9, 0.1, 0.7)) == "sft"
    assert choose(sft=model(0.4, 0.4, 0.7), dpo=model(0.9, 0.1, 0.7)) == "dpo"


def test_tie_goes_to_the_first_model() -> None:
    assert choose(sft=model(0.4, 0.2, 0.8), dpo=model(0.4, 0.2, 0.8)) == "sft"
