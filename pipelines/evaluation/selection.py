"""Select the candidate for promotion by the validation questions. Reads and writes nothing."""

from collections.abc import Collection
from typing import Any

from pipelines.evaluation.config import CompareConfig
from pipelines.evaluation.metrics import METRICS

Numbers = dict[str, Any]
"""Entry of one model in metrics.json."""

_SLACK = 1e-9  # a drop of 0.03 is within a limit of 0.03 despite floating-point rounding


def candidate(models: dict[str, Numbers], config: CompareConfig, worse: Collection[str]) -> str:
    """Return the model with the highest score on validation, other than the baseline.

    Only the models within the gate's limits on validation are eligible, or all if there is none; those `worse` than
    their parent never are. A tie goes to the model named first. Test questions are not used, so that the test results
    have no selection bias.
    """
    before = models[config.baseline]["validation"]
    others = {
        name: numbers["validation"] for name, numbers in models.items() if name != config.baseline and name not in worse
    }
    sound = [name for name, now in others.items() if _is_within_limits(now, before, config)]
    return max(sound or others, key=lambda name: others[name]["score"])


def _is_within_limits(now: Numbers, before: Numbers, config: CompareConfig) -> bool:
    """Return whether the point estimates are within the gate's limits; a metric not measured on validation is."""
    return (
        _loss("general_accuracy", now, before) <= config.max_general_drop + _SLACK
        and _loss("hallucination_rate", now, before) <= config.max_hallucination_rise + _SLACK
        and now["over_refusal"] <= config.max_over_refusal + _SLACK
    )


def _loss(metric: str, now: Numbers, before: Numbers) -> float:
    if metric not in now:
        return 0.0
    loss = float(before[metric] - now[metric])
    return loss if METRICS[metric].higher_is_better else -loss
