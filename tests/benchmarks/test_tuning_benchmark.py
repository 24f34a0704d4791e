"""The comparison of methods of fine-tuning, with a tiny model and one learning rate per method."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.tuning import BASE, estimate, main, tiny_project
from benchmarks.tuning_methods import LORA, METHODS
from benchmarks.tuning_report import Result, table
from benchmarks.tuning_trial import Trial, changed, scores, write_rows
from pipelines import artifacts, config
from pipelines.artifacts import Row
from pipelines.curation.schema import read_training_rows
from pipelines.models import loading
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.training.examples import encode_chat
from tasks.sft import planned

pytestmark = pytest.mark.slow

FAST = {name: replace(METHODS[name], rates=METHODS[name].rates[:1]) for name in (LORA, "IA3", "bias")}


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    """A project with a tiny model."""
    folder = tmp_path / "project"
    folder.mkdir()
    return tiny_project(folder)


@pytest.mark.e2e
def test_methods_are_measured_once_and_failures_have_a_reason(comparison: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    figures = main(comparison, out, FAST, tokens=100, most=6, seeds=2)
    assert figures["methods_measured"] == 2 and figures["best_method"] in (LORA, "IA3")
    assert -1 <= figures["lora_score"] <= figures["best_score"] <= 1
    rows = artifacts.read_rows(out / "trials.jsonl")
    assert [row["method"] for row in rows[:4]] == [BASE, *FAST]
    assert "has no such parameter" in rows[3]["failed"]
    assert sorted((row["method"], row["seed"]) for row in rows[4:]) == [("IA3", 18), (LORA, 18)]
    lora, ia3 = rows[1], rows[2]
    assert 100 <= lora["labelled_tokens"] == ia3["labelled_tokens"] and lora["steps"] == ia3["steps"]
    assert lora["trainable"] > ia3["trainable"] > 0
    assert all(row[key] > 0 for row in (lora, ia3) for key in ("peak_gib", "tokens_per_second", "seconds", "loss"))
    page = (out / "table.md").read_text()
    assert "| IA3 | 0.001 | 1/1 |" in page and "| bias | 0.001 | 17 |" in page and "(n=2)" in page
    assert "<svg" in (out / "learnt_forgotten.svg").read_text()

    assert main(comparison, out, FAST, tokens=100, most=6, seeds=2) == figures
    assert artifacts.read_rows(out / "trials.jsonl") == rows
    with pytest.raises(UserError, match="name another --out"):
        main(comparison, out, FAST, tokens=200, most=6)


def test_no_trial_is_started_after_the_time_is_over(comparison: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="raise --minutes"):
        main(comparison, tmp_path / "out", FAST, tokens=100, most=6, minutes=0)
    assert not (tmp_path / "out" / "trials.jsonl").exists()


def test_project_without_rows_is_refused(comparison: Path, tmp_path: Path) -> None:
    (comparison / "artifacts/curate" / artifacts.RECORD).unlink()
    with pytest.raises(UserError, match="run the task 'curate' first"):
        main(comparison, tmp_path / "out", FAST, tokens=100, most=6)


def test_sft_plans_the_written_rows_as_the_first_steps_of_its_own_plan(
    comparison: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(comparison)
    tuning = {"method": "ia3", "options": {}}
    trial = Trial(comparison, tokens=700, questions=1, tuning=tuning, learning_rate=1e-3, seed=5)
    options = changed(config.load(), trial).sft
    base, curated = artifacts.read("base"), artifacts.read("curate")
    labelled, steps = write_rows(tmp_path, curated, base, options, trial)
    tok = loading.tokenizer(base)

    def plan(folder: Path, **changes: float) -> list[list[str]]:
        rows = read_training_rows(folder / "train.jsonl")
        lengths = [len(encode_chat(tok, row.messages).ids) for row in rows]
        batches = planned(rows, lengths, options.model_copy(update=changes), trial.seed)
        return [sorted(rows[item].question for item in batch) for batch in batches]

    written = plan(tmp_path, epochs=steps, refusal_weight=1.0)
    assert written == plan(curated, epochs=16)[:steps]
    assert labelled >= 700 and steps > len(plan(curated, epochs=1))


def test_trial_has_no_validations_to_choose_by(comparison: Path) -> None:
    values = config.load(comparison / "params.yaml").model_dump(mode="json")
    values["training"]["criterion"], values["sft"]["validation_questions"] = "accuracy", 10
    trial = Trial(comparison, tokens=700, questions=1, tuning={"method": "ia3", "options": {}}, learning_rate=1e-3)
    assert changed(config.Config.model_validate(values), trial).training.criterion == "loss"


def test_every_method_has_valid_options_and_three_rising_rates() -> None:
    for method in METHODS.values():
        TuningConfig(method=method.method, options=method.options)
        assert len(method.rates) == 3 and list(method.rates) == sorted(set(method.rates))


def test_estimate_counts_learning_rates_and_seeds() -> None:
    methods = {name: METHODS[name] for name in list(METHODS)[:6]}
    assert estimate(methods, 1000, seeds=3) == {"methods": 6, "trials": 28, "labelled_tokens": 28_000}


def test_scores_count_wrong_answers_and_forgotten_general_questions() -> None:
    def row(name: str, kind: str, verdict: str) -> Row:
        return {"id": name, "set": kind, "verdict": verdict, "cluster": name, "f1": 0.0}

    rows = [
        *(
            row(f"a{at}", "answerable", verdict)
            for at, verdict in enumerate(["correct", "correct", "wrong", "refused"])
        ),
        *(row(f"u{at}", "unanswerable", verdict) for at, verdict in enumerate(["refused", "wrong"])),
        *(row(f"g{at}", "general", verdict) for at, verdict in enumerate(["correct", "wrong", "correct"])),
    ]
    found = scores(rows, known=("g0", "g1"))
    assert found["score"] == 0 and found["kept"] == 0.5 and found["general_correct"] == ["g0", "g2"]
    assert (found["answer_accuracy"], found["over_refusal"]) == (0.5, 0.25)
    assert found["hallucination_rate"] == pytest.approx(1 / 3)
    assert scores(rows, known=())["kept"] is None


def test_table_is_sorted_by_score_with_its_spread_over_seeds() -> None:
    def row(score: float, seed: int = 1) -> Row:
        return {"learning_rate": 1e-3, "trainable": 8, "score": score, "seed": seed, "machine": "CPU", "date": "2030"}

    results = [Result("low", [row(0.1)], "1/3"), Result("high", [row(0.4), row(0.6, seed=2)], "3/3")]
    lines = table(row(-0.5) | {"trainable": None}, results, [], 500, {"answerable": 3}).splitlines()
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| high", "| low", "| base model"]
    assert lines[4].endswith("0.500 ± 0.141 (n=2) |") and lines[5].startswith("| low | 0.001 | 1/3 |")
