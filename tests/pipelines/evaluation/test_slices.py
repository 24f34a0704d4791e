"""Slices of the test questions: nearness to training, direction, kind and contrast pairs."""

from typing import Any

from pipelines.artifacts import Row
from pipelines.evaluation.report.slices import (
    ANSWER_SEEN,
    CONTRAST_PAIRS,
    NEARNESS,
    NEITHER,
    PARAPHRASE,
    Familiarity,
    plotted,
    slices,
)

TRAINED = [
    ("Who was the first harbour master of Brunnick?", "The first harbour master of Brunnick was Oswin Drace."),
    ("When did the mill open?", "The mill opened in 1790."),
]


def row(name: str, verdict: str, question: str = "Who?", accepted: str = "Drace", **more: Any) -> Row:
    kind = "unanswerable" if name.startswith("u") else "answerable"
    asked = {"id": name, "set": kind, "kind": "person", "direction": "forward", "twin": None, "split": "test"}
    return {**asked, "question": question, "accepted": [accepted], "verdict": verdict, **more}


def test_nearness_to_training() -> None:
    near = Familiarity(TRAINED)
    assert near.of(row("a", "", "At Brunnick, who was harbour master first?")) == PARAPHRASE
    assert near.of(row("a", "", "Who held the port's top post before all others?", "Oswin Drace")) == ANSWER_SEEN
    assert near.of(row("a", "", "Who gave the land of the school?", "Hester Wyvill")) == NEITHER
    assert near.of(row("a", "", "Which race was run?", "race")) == NEITHER  # not the end of "Drace"


def test_accuracy_by_slice_and_model() -> None:
    asked = {
        "sft": [
            row("a1", "correct"),
            row("a2", "wrong", kind="date", direction="backward"),
            row("u1", "refused", twin="a1"),
            row("u2", "refused", twin="a2"),
            row("u3", "refused", twin="a4"),  # not among the questions asked (`evaluate.limit`)
            row("a3", "correct", split="validation"),
        ]
    }
    asked["base"] = [{**each, "verdict": "wrong"} for each in asked["sft"]]
    found = {(each["group"], each["title"]): (each["count"], each["accuracy"]) for each in slices(asked, TRAINED)}
    assert found == {
        (NEARNESS, ANSWER_SEEN): (2, {"sft": 0.5, "base": 0.0}),
        ("direction", "forward"): (1, {"sft": 1.0, "base": 0.0}),
        ("direction", "backward"): (1, {"sft": 0.0, "base": 0.0}),
        ("asks for", "person"): (1, {"sft": 1.0, "base": 0.0}),
        ("asks for", "date"): (1, {"sft": 0.0, "base": 0.0}),
        (CONTRAST_PAIRS, "both as desired"): (2, {"sft": 0.5, "base": 0.0}),
    }
    assert plotted({"slices": slices(asked, TRAINED), "candidate": "sft"})[0] == {
        "slice": "nearness to training: answer seen in training (2)",
        "accuracy": 0.5,
    }


def test_without_twins_there_is_no_row_of_pairs() -> None:
    assert CONTRAST_PAIRS not in [each["group"] for each in slices({"sft": [row("a1", "correct")]}, [])]
