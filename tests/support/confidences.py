"""The files of `calibrate`: confidence.json of an estimator that reads one signal, and its risk-coverage curve."""

from typing import Any

from pipelines.artifacts import Row
from pipelines.evaluation.confidence.signal_names import SIGNALS

CURVE: list[Row] = [
    {"coverage": place / 40, "risk": place / 100, "correct": place / 50, "threshold": 1 - place / 40}
    for place in range(1, 41)
]


def confidence_json(threshold: float | None = None, candidate: str = "sft", signal: str = "support") -> dict[str, Any]:
    """Return confidence.json: the confidence is 0.5 at a value of 0.5 of the signal, and rises with it."""
    zeros, weights = [0.0] * len(SIGNALS), [20.0 * (name == signal) for name in SIGNALS]
    ones = [1.0] * len(SIGNALS)
    counts = {"answered": 40, "wrong": 3, "questions": 120, "more_questions": None if threshold else 30}
    auroc = dict.fromkeys((*SIGNALS, "confidence"), 0.75)
    return {
        "candidate": candidate,
        "estimator": {"signals": list(SIGNALS), "mean": zeros, "scale": ones, "weights": weights, "bias": -10.0},
        "certificate": {"threshold": threshold, "max_wrong": 0.2, "alpha": 0.05, **counts},
        "auroc": {"calibration": dict.fromkeys(SIGNALS, 0.75), "test": auroc},
        "general": {"correct": 50, "withheld": 47},
    }
