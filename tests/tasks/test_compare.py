"""Compare three evaluated models: metrics.json, the page and the plots, written deterministically."""

from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.config import Config
from pipelines.evaluation.metrics import METRICS
from pipelines.runtime.errors import UserError
from tasks.compare import check_leftovers, compare

pytestmark = pytest.mark.slow


def evaluated(name: str, correct: int, refused: int) -> Path:
    """Write an evaluation with `correct`, then `refused`, then wrong answers to 20 questions per set and split."""
    out = artifacts.fresh(f"evaluate/{name}")
    verdicts = ["correct"] * correct + ["refused"] * refused + ["wrong"] * (20 - correct - refused)
    rows = []
    for kind in ("answerable", "general", "unanswerable"):
        for split in ("test", "validation"):
            for number, verdict in enumerate(verdicts):
                outcome = (
                    verdict
                    if kind == "answerable"
                    else "correct"
                    if kind == "general"
                    else "refused"
                    if number < refused
                    else "wrong"
                )
                rows.append(
                    {
                        "id": f"{kind}-{split}-{number:02}",
                        "set": kind,
                        "kind": kind,
                        "split": split,
                        "cluster": f"{kind}-{number // 2}",
                        "question": "Who?",
                        "accepted": ["Drace"],
                        "answer": "x",
                        "verdict": outcome,
                        "f1": 0.5 if outcome == "correct" else 0.0,
                    }
                )
    artifacts.write_rows(out / "answers.jsonl", rows)
    text = [{"source": f"{each}.md", "bits": 1000.0 - 10 * correct, "bytes": 1000} for each in range(4)]
    artifacts.write_json(out / "scores.json", {"text": text})
    return out


def test_metrics_json_has_metrics_intervals_differences_and_verdict(config: Config) -> None:
    models = {"base": evaluated("base", 0, 0), "sft": evaluated("sft", 10, 4), "dpo": evaluated("dpo", 10, 8)}
    out = artifacts.fresh("compare")
    logged = compare(models, out, out / "report.html", config.compare, seed=1)
    metrics = artifacts.read_json(out / "metrics.json")
    assert set(metrics) == {"models", "order", "candidate", "verdict"}
    assert metrics["candidate"] == "dpo"  # same accuracy as sft, lower hallucination rate
    assert metrics["verdict"]["passed"] is True
    dpo = metrics["models"]["dpo"]
    assert {name: dpo[name] for name in METRICS} == {
        "answer_accuracy": 0.5,
        "answer_f1": 0.25,
        "over_refusal": 0.4,
        "refusal_recall": 0.4,
        "hallucination_rate": 0.35,  # 2 of 20 and 12 of 20
        "general_accuracy": 1.0,
        "domain_bits_per_byte": 0.9,
    }
    assert all(dpo["intervals"][name][0] <= dpo[name] <= dpo["intervals"][name][1] for name in METRICS)
    assert set(dpo["differences"]) == {"base", "sft"}
    assert dpo["differences"]["sft"]["hallucination_rate"]["value"] == -0.2
    assert dpo["differences"]["sft"]["answer_accuracy"] == {"value": 0.0, "interval": [0.0, 0.0]}
    assert set(metrics["models"]["base"]["differences"]) == {"sft"}
    assert logged["dpo.answer_accuracy"] == 0.5
    assert set(logged) == {f"{model}.{name}" for model in models for name in METRICS}


def test_rerun_writes_equal_bytes(config: Config) -> None:
    models = {"base": evaluated("base", 0, 0), "sft": evaluated("sft", 10, 4)}
    written = []
    for _ in range(2):
        out = artifacts.fresh("compare")
        compare(models, out, out / "report.html", config.compare, seed=1)
        written.append({path.name: path.read_bytes() for path in artifacts.files(out)})
    assert set(written[0]) == {"metrics.json", "report.html", "outcomes.png", "tradeoff.png"}
    assert written[0] == written[1]


def test_model_no_better_than_base_fails_with_a_reason(config: Config) -> None:
    models = {"base": evaluated("base", 5, 5), "sft": evaluated("sft", 5, 5)}
    compare(models, artifacts.fresh("compare"), Path("report.html"), config.compare, seed=1)
    verdict = artifacts.read_json(Path("artifacts/compare/metrics.json"))["verdict"]
    assert verdict["passed"] is False
    assert verdict["reasons"][0].startswith("Accuracy: 25.0% before, 25.0% now")


def test_models_with_different_questions_raise(config: Config) -> None:
    models = {"base": evaluated("base", 5, 5), "sft": evaluated("sft", 5, 5)}
    rows = artifacts.read_rows(models["sft"] / "answers.jsonl")
    artifacts.write_rows(models["sft"] / "answers.jsonl", rows[1:])
    with pytest.raises(UserError, match="sft and base were asked different questions"):
        compare(models, artifacts.fresh("compare"), Path("report.html"), config.compare, seed=1)


def test_missing_baseline_raises(config: Config) -> None:
    with pytest.raises(UserError, match=r"compare\.baseline is 'base'"):
        compare(
            {"sft": evaluated("sft", 1, 1)}, artifacts.fresh("compare"), Path("report.html"), config.compare, seed=1
        )


def test_models_are_compared_without_held_out_text(config: Config) -> None:
    models = {"base": evaluated("base", 0, 0), "sft": evaluated("sft", 10, 4)}
    for folder in models.values():
        artifacts.write_json(folder / "scores.json", {"text": []})
    logged = compare(models, artifacts.fresh("compare"), Path("report.html"), config.compare, seed=1)
    assert set(logged) == {f"{model}.{name}" for model in models for name in METRICS if name != "domain_bits_per_byte"}
    assert artifacts.read_json(Path("artifacts/compare/metrics.json"))["verdict"]["passed"] is True


def test_unmeasured_metrics_fail_the_gate(config: Config) -> None:
    models = {"base": evaluated("base", 0, 0), "sft": evaluated("sft", 10, 4)}
    for folder in models.values():
        rows = [row for row in artifacts.read_rows(folder / "answers.jsonl") if row["set"] == "answerable"]
        artifacts.write_rows(folder / "answers.jsonl", rows)
    logged = compare(models, artifacts.fresh("compare"), Path("report.html"), config.compare, seed=1)
    assert "sft.general_accuracy" not in logged
    verdict = artifacts.read_json(Path("artifacts/compare/metrics.json"))["verdict"]
    assert not verdict["passed"] and [reason.split(",")[0] for reason in verdict["reasons"]] == [
        "Hallucination rate: not measured",
        "General accuracy: not measured",
    ]
    assert "General accuracy: not measured" in Path("report.html").read_text()


def test_leftover_evaluation_raises(config: Config) -> None:
    evaluated("base", 0, 0)
    check_leftovers(["base", "sft"])
    evaluated("old", 0, 0)
    with pytest.raises(UserError, match=r"artifacts/evaluate holds old, which evaluate\.models"):
        check_leftovers(["base", "sft"])
