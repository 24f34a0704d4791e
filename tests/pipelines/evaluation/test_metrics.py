"""Metric values on a worked example."""

import pytest

from pipelines.artifacts import Row
from pipelines.evaluation.metrics import units
from pipelines.evaluation.statistics.bootstrap import value


def answer(kind: str, verdict: str, cluster: str = "a", f1: float = 0.0) -> Row:
    return {"set": kind, "verdict": verdict, "cluster": cluster, "f1": f1}


def test_every_metric_matches_worked_example() -> None:
    rows = [
        answer("answerable", "correct", f1=1.0),
        answer("answerable", "wrong", f1=0.5),
        answer("answerable", "wrong"),
        answer("answerable", "refused"),
        answer("unanswerable", "refused"),
        answer("unanswerable", "refused"),
        answer("unanswerable", "wrong"),
        answer("general", "correct"),
        answer("general", "wrong"),
    ]
    text = [{"source": "x", "bits": 100.0, "bytes": 50}, {"source": "y", "bits": 20.0, "bytes": 150}]
    found = {name: value(each) for name, each in units(rows, text).items()}
    assert found == pytest.approx(
        {
            "score": (1 - 3 - 3) / 4,
            "answer_accuracy": 1 / 4,
            "answer_f1": 1.5 / 4,
            "over_refusal": 1 / 4,
            "refusal_recall": 2 / 3,
            "hallucination_rate": 3 / 7,
            "general_accuracy": 1 / 2,
            "domain_bits_per_byte": 120 / 200,
        }
    )
