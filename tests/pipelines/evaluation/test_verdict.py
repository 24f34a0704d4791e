"""Who becomes the candidate, and what the gate lets through."""

from typing import Any

import pytest

from pipelines.evaluation.verdict import candidate, verdict


def model(right: float, invented: float, general: float, *, low: float = 0.1, validation: Any = None) -> dict[str, Any]:
    """A model's numbers; `low` is the lower bound of its gain over the baseline."""
    numbers: dict[str, Any] = {"answer_accuracy": right, "hallucination_rate": invented, "general_accuracy": general}
    numbers["refusal_recall"] = 0.5
    change = {name: {"value": 0.0, "interval": [-0.2, 0.2]} for name in numbers}
    change["answer_accuracy"] = {"value": right, "interval": [low, low + 0.2]}
    return {**numbers, "validation": validation or numbers, "differences": {"base": change}}


BASE = model(0.02, 0.9, 0.80)


def gate(now: dict[str, Any]) -> dict[str, Any]:
    return verdict({"base": BASE, "dpo": now}, "dpo", "base", max_general_drop=0.03, max_hallucination_rise=0.0)


def test_a_better_model_passes_and_a_fall_of_just_the_limit_is_within_it() -> None:
    found = gate(model(0.5, 0.3, 0.77))
    assert found["passed"] is True
    assert found["reasons"] == []
    assert [check["passed"] for check in found["checks"]] == [True, True, True]


def test_a_gain_that_may_be_chance_is_refused() -> None:
    found = gate(model(0.08, 0.3, 0.8, low=-0.01))
    assert found["passed"] is False
    assert len(found["reasons"]) == 1
    assert "Right answers: 2.0% before, 8.0% now" in found["reasons"][0]
    assert "-1.0 to +19.0 points" in found["reasons"][0]


def test_more_inventions_and_more_forgetting_are_refused_each_with_its_reason() -> None:
    found = gate(model(0.5, 0.91, 0.76))
    assert found["passed"] is False
    assert [check["passed"] for check in found["checks"]] == [True, False, False]
    assert "Invented answers: 90.0% before, 91.0% now" in found["reasons"][0]
    assert "General facts: 80.0% before, 76.0% now" in found["reasons"][1]


def without(numbers: dict[str, Any], metric: str) -> dict[str, Any]:
    """The numbers of a model that was asked nothing of what `metric` measures."""
    left = {name: value for name, value in numbers.items() if name != metric}
    return {**left, "validation": {name: value for name, value in numbers["validation"].items() if name != metric}}


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("general_accuracy", "General facts: not measured, since there is no general test question."),
        ("refusal_recall", "Invented answers: not measured, since there is no unanswerable test question."),
    ],
)
def test_what_was_not_measured_shuts_the_gate(metric: str, sentence: str) -> None:
    models = {name: without(numbers, metric) for name, numbers in (("base", BASE), ("dpo", model(0.5, 0.3, 0.8)))}
    assert candidate(models, "base", 0.03, 0.0) == "dpo"
    assert verdict(models, "dpo", "base", 0.03, 0.0)["reasons"] == [sentence]


def choose(**models: dict[str, Any]) -> str:
    return candidate({"base": BASE, **models}, "base", max_general_drop=0.03, max_hallucination_rise=0.0)


def test_the_candidate_is_chosen_by_the_validation_questions_alone() -> None:
    lucky = model(0.9, 0.0, 0.8, validation=model(0.4, 0.5, 0.8))
    sound = model(0.5, 0.4, 0.8, validation=model(0.5, 0.3, 0.8))
    assert choose(sft=lucky, dpo=sound) == "dpo"


def test_a_forgetful_model_is_the_candidate_only_when_all_are() -> None:
    assert choose(sft=model(0.4, 0.4, 0.8), dpo=model(0.9, 0.1, 0.7)) == "sft"
    assert choose(sft=model(0.4, 0.4, 0.7), dpo=model(0.9, 0.1, 0.7)) == "dpo"


def test_a_tie_goes_to_the_model_named_first() -> None:
    assert choose(sft=model(0.4, 0.2, 0.8), dpo=model(0.4, 0.2, 0.8)) == "sft"
