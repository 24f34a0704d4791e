"""Compare three evaluated models: metrics.json, the page and the plots, written deterministically."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from mlflow.utils.validation import _validate_metric_name

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.evaluation.best_of_n.curve import CURVE
from pipelines.evaluation.confidence.calibration import CONFIDENCE, CONFIDENCES, RISK_COVERAGE
from pipelines.evaluation.config import CompareConfig, SelectConfig
from pipelines.evaluation.metrics import METRICS
from pipelines.evaluation.retrieval.open_book import BOTH
from pipelines.evaluation.retrieval.table import SHOWN
from pipelines.evaluation.selection import read
from pipelines.runtime.errors import UserError
from tasks import compare as task
from tasks.select import check_leftovers, choose
from tests.support.confidences import CURVE as RISKS
from tests.support.confidences import confidence_json
from tests.support.curves import curve_json

pytestmark = pytest.mark.slow


PROTOCOL = {
    "questions": [{"file": "answerable.jsonl", "sha256": "ab", "test": 400, "validation": 400}],
    **{"decoding": {"num_beams": 4}, "max_extra_words": 25, "judge": False, "code": "cd"},
}


@pytest.fixture
def config(config: Config) -> Config:
    return config.model_copy(update={"compare": config.compare.model_copy(update={"resamples": 1000})})


def compare(
    models: dict[str, Path],
    out: Path,
    page: Path,
    config: CompareConfig,
    seed: int,
    threshold: float | None = None,
    tested: Mapping[str, Path] = MappingProxyType({}),
) -> dict[str, float]:
    """Select the candidate of models that were trained on nothing, and compare them.

    Every second answer of the candidate has a confidence of 0.9, the others of 0.1. The models in `tested` answer the
    test questions as in that evaluation, the others as in their own.
    """
    names = ("select", "calibrate", "open_book", "best_of_n", "curate", "test")
    folders = {name: artifacts.fresh(name) for name in names}
    artifacts.write_rows(folders["curate"] / "train.jsonl", [])
    parents = {name: "sft" for name in models if "sft" in models and name not in ("base", "sft")}
    choose(models, parents, folders["select"], SelectConfig(alpha=0.05), config, seed)
    selection = read(folders["select"])
    candidate = selection.candidate
    for name in (config.baseline, candidate, selection.parent):
        if name is not None:
            place = f"test/{'baseline' if name == config.baseline else 'candidate'}/{name}"
            artifacts.write_rows(artifacts.fresh(place) / "answers.jsonl", in_test({**models, **tested}[name]))
    artifacts.write_json(folders["test"] / "baseline/protocol.json", PROTOCOL)
    for name in (config.baseline, candidate, BOTH):  # the same answers, open book
        rows = in_test({**models, **tested}[candidate if name == BOTH else name])
        asked = [{**row, "passage": "Drace"} for row in rows if row["set"] != "general"]
        artifacts.write_rows(folders["open_book"] / f"{name}.jsonl", asked)
    stored = [{"id": row["id"], "confidence": (0.1, 0.9)[place % 2]} for place, row in enumerate(rows)]
    artifacts.write_rows(folders["calibrate"] / CONFIDENCES, stored)
    artifacts.write_json(folders["calibrate"] / CONFIDENCE, confidence_json(threshold))
    artifacts.write_rows(folders["calibrate"] / RISK_COVERAGE, RISKS)
    artifacts.write_json(folders["best_of_n"] / CURVE, curve_json())
    return task.compare(task.Inputs(models, **folders), out, page, config, seed)


def in_test(folder: Path) -> list[Row]:
    """Return the answers of an evaluation as those to the test questions."""
    rows = artifacts.read_rows(folder / "answers.jsonl")
    named = [{**row, "twin": row["twin"] and row["twin"].replace("validation", "test")} for row in rows]
    return [{**row, "split": "test", "id": row["id"].replace("validation", "test")} for row in named]


def evaluated(name: str, correct: int, refused: int) -> Path:
    """Write an evaluation of 400 questions per set; of 20, so many are correct and refused, and the others wrong."""
    out = artifacts.fresh(f"evaluate/{name}")
    verdicts = ["correct"] * correct + ["refused"] * refused + ["wrong"] * (20 - correct - refused)
    rows = []
    for kind in ("answerable", "general", "unanswerable"):
        for number, verdict in enumerate(verdicts * 20):
            outcome = (
                verdict
                if kind == "answerable"
                else "correct"
                if kind == "general"
                else "refused"
                if number % 20 < refused
                else "wrong"
            )
            rows.append(
                {
                    "id": f"{kind}-validation-{number:03}",
                    "set": kind,
                    "kind": kind,
                    "direction": "forward",
                    "twin": f"answerable-validation-{number:03}" if kind == "unanswerable" else None,
                    "split": "validation",
                    "cluster": f"{kind}-{number // 2}",
                    "question": "Who?",
                    "accepted": ["Drace"],
                    "answer": "x",
                    "verdict": outcome,
                    "f1": 0.5 if outcome == "correct" else 0.0,
                    "judged": False,
                    "log_likelihood": None if kind == "general" else -0.01 * number,
                    "invented": ["vosper"] if kind != "general" and outcome == "wrong" else [],
                }
            )
    artifacts.write_rows(out / "answers.jsonl", rows)
    text = [{"source": f"{each}.md", "bits": 1000.0 - 10 * correct, "bytes": 1000} for each in range(4)]
    artifacts.write_json(out / "scores.json", {"weights": f"hash of {name}", "text": text})
    return out


def test_metrics_json_has_metrics_intervals_differences_and_verdict(config: Config) -> None:
    models = {"base": evaluated("base", 0, 0), "sft": evaluated("sft", 10, 0), "dpo": evaluated("dpo", 10, 1)}
    out = artifacts.fresh("compare")
    logged = compare(models, out, out / "report.html", config.compare, seed=1)
    metrics = artifacts.read_json(out / "metrics.json")
    selected = {"candidate", "parent", "worse_than_parent", "beyond_limits"}
    tables = {"models", "order", "validation", "open_book", "slices", "weak_documents"}
    assert set(metrics) == {*tables, *selected, "best_of_n", "confidence", "abstaining", "protocol", "verdict"}
    assert metrics["protocol"] == {
        **{**PROTOCOL, "seed": 1, "weights": {name: f"hash of {name}" for name in models}},
    }
    assert metrics["open_book"]["models"]["dpo, closed book"]["answer_accuracy"] == 0.5
    assert metrics["open_book"]["tuning"]["answer_accuracy"]["value"] == 0.5
    assert metrics["candidate"] == "dpo"  # same accuracy as sft, fewer wrong answers
    assert metrics["worse_than_parent"] == {}
    assert metrics["verdict"]["outcome"] == "pass"
    dpo = metrics["models"]["dpo"]
    assert {name: dpo[name] for name in METRICS} == {
        "score": -0.85,  # 10 of 20 correct, 9 wrong
        "answer_accuracy": 0.5,
        "answer_f1": 0.25,
        "over_refusal": 0.05,
        "refusal_recall": 0.05,
        "hallucination_rate": 0.7,  # 9 of 20 and 19 of 20
        "invented_entities": 0.7,
        "general_accuracy": 1.0,
        "domain_bits_per_byte": 0.9,
    }
    assert all(dpo["intervals"][name][0] <= dpo[name] <= dpo["intervals"][name][1] for name in METRICS)
    assert logged["dpo.answer_accuracy"] == 0.5
    assert logged["slice/direction/forward"] == 0.5
    expected = {f"{model}.{name}" for model in models for name in METRICS} | {f"abstaining.{name}" for name in SHOWN}
    assert {each for each in logged if "/" not in each} == expected
    against = [(check["gate"], check["reference"], check["outcome"]) for check in metrics["verdict"]["checks"]]
    assert against[-1] == ("parent", "sft", "pass") and {name for _, name, _ in against[:-1]} == {"base"}
    assert logged["gate/parent/gain"] == 0.15  # 1 of 20 refused instead of wrong
    assert logged["gate/parent/lower"] < 0.15 < logged["gate/parent/upper"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("who? (A & B), and/or 谁", "who_ _A _ B__ and_or 谁"), (".", "_"), (" ..", "_"), ("etc.", "etc")],
)
def test_any_kind_of_question_becomes_a_metric_name_that_mlflow_allows(config: Config, kind: str, name: str) -> None:
    models = {"base": evaluated("base", 0, 0), "sft": evaluated("sft", 10, 0)}
    for folder in models.values():
        rows = artifacts.read_rows(folder / "answers.jsonl")
        artifacts.write_rows(folder / "answers.jsonl", [{**row, "kind": kind} for row in rows])
    logged = compare(models, artifacts.fresh("compare"), Path("report.html"), config.compare, seed=1)
    assert logged[f"slice/asks for/{name}"] == 0.5
    for each in logged:
        _validate_metric_name(each)


def test_aligned_candidate_that_is_worse_than_its_parent_on_the_test_questions_fails(config: Config) -> None:
    models = {"base": evaluated("base", 0, 0), "sft": evaluated("sft", 10, 0), "dpo": evaluated("dpo", 10, 1)}
    tested = {"dpo": evaluated("dpo on the test questions", 6, 1)}
    compare(models, artifacts.fresh("compare"), Path("report.html"), config.compare, seed=1, tested=tested)
    metrics = artifacts.read_json(Path("artifacts/compare/metrics.json"))
    assert metrics["candidate"] == "dpo" and metrics["worse_than_parent"] == {}  # on the validation questions
    assert metrics["verdict"]["outcome"] == "fail"
    [reason] = metrics["verdict"]["reasons"]
    assert reason.startswith("Score -1.65, sft -1.00: a change of -0.65, between -")
    assert "Alignment lowered it" in reason and "Alignment lowered it" in Path("report.html").read_text()


def test_models_that_were_not_selected_have_validation_figures_only(config: Config) -> None:
    models = {"base": evaluated("base", 0, 0), "sft": evaluated("sft", 10, 0)}
    models |= {"dpo": evaluated("dpo", 10, 1), "ppo": evaluated("ppo", 8, 1)}
    compare(models, artifacts.fresh("compare"), Path("report.html"), config.compare, seed=1)
    metrics = artifacts.read_json(Path("artifacts/compare/metrics.json"))
    assert metrics["order"] == ["base", "sft", "dpo"] and metrics["parent"] == "sft"
    assert metrics["validation"]["order"] == ["base", "sft", "dpo", "ppo"]
    assert metrics["validation"]["models"]["ppo"]["answer_accuracy"] == 0.4
    assert "ppo was not selected, and so not asked the test questions" in Path("report.html").read_text()


def test_rerun_writes_equal_bytes(config: Config) -> None:
    models = {"base": evaluated("base", 0, 0), "sft": evaluated("sft", 10, 1)}
    written = []
    for _ in range(2):
        out = artifacts.fresh("compare")
        compare(models, out, out / "report.html", config.compare, seed=1)
        written.append({path.name: path.read_bytes() for path in artifacts.files(out)})
    assert set(written[0]) == {
        *("metrics.json", "report.html", "outcomes.png", "tradeoff.png", "best_of_n.png", "risk_coverage.png"),
        "risk_by_model.png",
    }
    assert written[0] == written[1]


@pytest.mark.parametrize("certified", [0.5, None])
def test_abstaining_is_in_the_table_with_or_without_a_certified_threshold(
    certified: float | None, config: Config
) -> None:
    models = {"base": evaluated("base", 0, 0), "sft": evaluated("sft", 10, 0)}
    logged = compare(
        models, artifacts.fresh("compare"), Path("report.html"), config.compare, seed=1, threshold=certified
    )
    assert logged["abstaining.over_refusal"] == 0.5 and logged["abstaining.answer_accuracy"] == 0.25
    assert (
        f"With abstention below a confidence of {certified or 0.75:.2f} it is 50.0%." in Path("report.html").read_text()
    )
    ways = artifacts.read_json(Path("artifacts/compare/metrics.json"))["open_book"]["models"]
    assert ways["sft, abstaining"]["over_refusal"] == 0.5
    assert ways["sft, abstaining"]["answer_accuracy"] == 0.25 and ways["sft, closed book"]["answer_accuracy"] == 0.5
    assert "Closed book, open book, both, abstaining" in Path("report.html").read_text()


def test_model_no_better_than_base_fails_with_a_reason(config: Config) -> None:
    models = {"base": evaluated("base", 5, 10), "sft": evaluated("sft", 5, 10)}
    compare(models, artifacts.fresh("compare"), Path("report.html"), config.compare, seed=1)
    verdict = artifacts.read_json(Path("artifacts/compare/metrics.json"))["verdict"]
    assert verdict["outcome"] == "fail"
    assert verdict["reasons"][0].startswith("Score -0.50, base -0.50: a change of +0.00")
    assert "Over-refusal rate 50.0%, between" in verdict["reasons"][1]


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
    models = {"base": evaluated("base", 0, 0), "sft": evaluated("sft", 10, 1)}
    for folder in models.values():
        artifacts.write_json(folder / "scores.json", {"weights": "", "text": []})
    logged = compare(models, artifacts.fresh("compare"), Path("report.html"), config.compare, seed=1)
    wanted = {f"{model}.{name}" for model in models for name in METRICS if name != "domain_bits_per_byte"}
    assert {each for each in logged if "/" not in each} == wanted | {f"abstaining.{name}" for name in SHOWN}
    assert artifacts.read_json(Path("artifacts/compare/metrics.json"))["verdict"]["outcome"] == "pass"


def test_unmeasured_metrics_leave_the_gate_undecided(config: Config) -> None:
    models = {"base": evaluated("base", 0, 0), "sft": evaluated("sft", 10, 1)}
    for folder in models.values():
        rows = [row for row in artifacts.read_rows(folder / "answers.jsonl") if row["set"] != "general"]
        artifacts.write_rows(folder / "answers.jsonl", rows)
    logged = compare(models, artifacts.fresh("compare"), Path("report.html"), config.compare, seed=1)
    assert "sft.general_accuracy" not in logged
    verdict = artifacts.read_json(Path("artifacts/compare/metrics.json"))["verdict"]
    assert verdict["outcome"] == "undecided"
    assert verdict["reasons"] == ["General accuracy: not measured, because a set of test questions is missing."]
    assert "General accuracy: not measured" in Path("report.html").read_text()


def test_aligned_model_worse_than_its_parent_is_not_selected(config: Config) -> None:
    models = {"base": evaluated("base", 0, 0), "sft": evaluated("sft", 10, 2), "dpo": evaluated("dpo", 6, 2)}
    models["ppo"] = evaluated("ppo", 9, 2)
    compare(models, artifacts.fresh("compare"), Path("report.html"), config.compare, seed=1)
    metrics = artifacts.read_json(Path("artifacts/compare/metrics.json"))
    assert metrics["candidate"] == "sft" and metrics["worse_than_parent"] == {"dpo": "sft", "ppo": "sft"}
    assert "ppo scored worse than sft" in Path("report.html").read_text()


def test_leftover_evaluation_raises(config: Config) -> None:
    evaluated("base", 0, 0)
    check_leftovers(["base", "sft"])
    evaluated("old", 0, 0)
    with pytest.raises(UserError, match=r"artifacts/evaluate holds old, which evaluate\.models"):
        check_leftovers(["base", "sft"])
