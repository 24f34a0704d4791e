"""Selection of the candidate on validation."""

from typing import Any

from pipelines.config import load
from pipelines.evaluation.selection import candidate
from tests.conftest import ROOT

CONFIG = load(ROOT / "params.yaml").compare


def model(
    score: float, hallucination: float = 0.3, general: float = 0.8, refusals: float = 0.1, validation: Any = None
) -> dict[str, Any]:
    """Return a model's metrics; those on validation are the same unless given."""
    numbers: dict[str, Any] = {
        "score": score,
        "hallucination_rate": hallucination,
        "general_accuracy": general,
        "over_refusal": refusals,
    }
    return {**numbers, "validation": validation or numbers}


BASE = model(-2.9, hallucination=0.9, refusals=0.0)


def choose(*worse: str, **models: dict[str, Any]) -> str:
    return candidate({"base": BASE, **models}, CONFIG, worse)


def test_highest_score_on_validation_is_selected() -> None:
    lucky = model(0.9, validation=model(-0.5))
    sound = model(-0.4, validation=model(-0.3))
    assert choose(sft=lucky, dpo=sound) == "dpo"


def test_model_beyond_a_limit_is_candidate_only_if_all_are() -> None:
    sound, better = model(-0.5), 0.5
    assert choose(sft=sound, dpo=model(better, general=0.7)) == "sft"
    assert choose(sft=sound, dpo=model(better, refusals=0.4)) == "sft"
    assert choose(sft=sound, dpo=model(better, hallucination=0.96)) == "sft"
    assert choose(sft=model(-0.5, general=0.7), dpo=model(better, general=0.7)) == "dpo"


def test_drop_of_exactly_the_limit_is_within_it() -> None:
    assert choose(sft=model(-0.5), dpo=model(0.5, general=0.8 - CONFIG.max_general_drop)) == "dpo"


def test_model_worse_than_its_parent_is_never_selected() -> None:
    assert choose("dpo", sft=model(-0.5, general=0.7), dpo=model(0.5)) == "sft"


def test_tie_goes_to_the_first_model() -> None:
    assert choose(sft=model(0.4), dpo=model(0.4)) == "sft"


def test_metric_that_was_not_measured_limits_nothing() -> None:
    models = {"base": BASE, "sft": model(0.1), "dpo": model(0.2)}
    for numbers in models.values():
        numbers["validation"] = {
            key: value for key, value in numbers["validation"].items() if key != "general_accuracy"
        }
    assert candidate(models, CONFIG, []) == "dpo"
