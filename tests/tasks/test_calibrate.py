"""Calibrate the tiny model: its files, its metrics, and equal bytes when run again."""

from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.evaluation.confidence.calibration import CONFIDENCE, CONFIDENCES, RISK_COVERAGE, Confidence
from pipelines.evaluation.confidence.signal_names import SIGNALS
from tasks.calibrate import calibrate
from tests.conftest import ROOT
from tests.support.tables import write_table

pytestmark = pytest.mark.slow

TEXT = "The tide mill was built by Emeric Vosper. It is closed. The ferry sails on Saturdays."
CORRECT, WRONG = "The tide mill was built by Emeric Vosper.", "A bakery was sold."


def answered() -> list[Row]:
    """Return 120 answers per split, every second one correct, and a refusal."""
    rows = [
        {
            **{"id": f"{split}-{number}", "set": "answerable", "kind": "name", "split": split, "cluster": f"d{number}"},
            **{"question": "Who built the tide mill?", "accepted": ["Emeric Vosper"], "competing": [], "choices": []},
            **{"answer": (CORRECT, WRONG)[number % 2], "verdict": ("correct", "wrong")[number % 2], "f1": 0.0},
        }
        for split in ("validation", "test")
        for number in range(120)
    ]
    refusal = {"id": "r", "set": "unanswerable", "verdict": "refused", "answer": "I don't know.", "split": "test"}
    return [*rows, {**rows[0], **refusal}]


def brief(config: Config) -> Config:
    """Return parameters with short answers."""
    return config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"max_new_tokens": 3, "beams": 2})})


@pytest.fixture
def inputs(base: Path) -> tuple[Path, Path]:
    """Two questions held back from training, and one document."""
    held_back = artifacts.fresh("curate/questions")
    asked = {"answer": "Vosper", "kind": "name", "split": "test", "sources": ["mill.md"]}
    texts = ("Who built the mill?", "Who made the mill?")
    rows = [{"id": f"synthesised-{place}", "question": text, **asked} for place, text in enumerate(texts)]
    artifacts.write_rows(held_back / "answerable.jsonl", rows)
    documents = artifacts.fresh("split") / "train.parquet"
    write_table(documents, [{"source": "mill.md", "title": "Mills", "text": TEXT}])
    return held_back, documents


def test_confidence_is_written_with_every_answer_and_the_curve(
    base: Path, inputs: tuple[Path, Path], config: Config
) -> None:
    settings = brief(config)
    out = artifacts.fresh("calibrate")
    metrics = calibrate("sft", base, answered(), *inputs, out, settings)
    stored = artifacts.read_json(out / CONFIDENCE)
    assert stored["candidate"] == "sft" and set(stored["auroc"]["test"]) == {*SIGNALS, "confidence"}
    found = Confidence.of(stored)
    assert found.estimator is not None and not found.reads
    assert metrics["test.auroc.support"] == 1.0 and metrics["test.auroc.confidence"] == 1.0
    answers = artifacts.read_rows(out / CONFIDENCES)
    assert {row["split"] for row in answers} == {"validation", "test", "calibration"}
    assert len(answers) == 242  # the refusal has no confidence
    assert set(SIGNALS) < set(answers[0])
    curve = artifacts.read_rows(out / RISK_COVERAGE)
    assert len(curve) == 120 and curve[-1]["coverage"] == round(120 / 121, 6)
    assert artifacts.PLOTS.joinpath("calibrate.csv").read_text().startswith("coverage,risk,correct,threshold")
    before = {path.name: path.read_bytes() for path in artifacts.files(out)}
    assert calibrate("sft", base, answered(), *inputs, artifacts.fresh("calibrate"), settings) == metrics
    assert {path.name: path.read_bytes() for path in artifacts.files(out)} == before


def test_finetuned_reader_is_a_signal_and_is_stored(base: Path, inputs: tuple[Path, Path], config: Config) -> None:
    prompts = config.synthesize.model_copy(update={"prompts": ROOT / "data/prompts"})
    settings, out = brief(config).model_copy(update={"synthesize": prompts}), artifacts.fresh("calibrate")
    calibrate("sft", base, answered(), *inputs, out, settings, finetuned=base)
    values = [row["reading"] for row in artifacts.read_rows(out / CONFIDENCES)]
    assert len(values) == 242 and 0 <= min(values) <= max(values) <= 1
    assert {"config.json", "reader.yaml"} < {path.name for path in (out / "reader").iterdir()}


def test_share_of_correct_general_answers_that_are_withheld_is_reported(
    base: Path, inputs: tuple[Path, Path], config: Config
) -> None:
    """General answers that are all correct, and of which the documents support every second one."""
    out = artifacts.fresh("calibrate")
    general = [{**row, "set": "general", "id": f"g-{row['id']}", "verdict": "correct"} for row in answered()[:-1]]
    metrics = calibrate("sft", base, [*answered(), *general], *inputs, out, brief(config))
    assert artifacts.read_json(out / CONFIDENCE)["general"] == {"correct": 120, "withheld": 60}
    assert metrics["general_withheld"] == 0.5
    assert not any(row["set"] == "general" for row in artifacts.read_rows(out / CONFIDENCES))


def test_questions_that_were_evaluated_are_not_asked_again(
    base: Path, inputs: tuple[Path, Path], config: Config
) -> None:
    rows = [{**row, "id": f"synthesised-{place}"} for place, row in enumerate(answered()[:2])]
    metrics = calibrate("sft", base, rows, *inputs, artifacts.fresh("calibrate"), brief(config))
    assert metrics["calibration_answers"] == 2.0


def test_too_few_answers_are_reported_and_stop_nothing(
    base: Path, inputs: tuple[Path, Path], config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    brief = config.evaluate.model_copy(update={"max_new_tokens": 3, "beams": 2})
    metrics = calibrate(
        "sft", base, [], *inputs, artifacts.fresh("calibrate"), config.model_copy(update={"evaluate": brief})
    )
    assert metrics == {"certified": 0.0, "calibration_answers": 2.0}
    assert "no confidence is certified" in capsys.readouterr().err
