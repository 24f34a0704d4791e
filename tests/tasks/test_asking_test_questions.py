"""The stage test on the tiny model: who is asked, what is written, and the protocol."""

import hashlib
import shutil
from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.config import Config
from pipelines.evaluation.questions import SETS, SPLITS
from pipelines.evaluation.selection import Selection
from tasks import test as task
from tests.conftest import ROOT
from tests.support.tables import write_table

pytestmark = pytest.mark.slow


@pytest.fixture
def split(project: Path) -> Path:
    """A training document, and a question per set and split."""
    (project / "data/questions").mkdir(parents=True)
    for name in SETS[:2]:
        rows = [
            {"id": f"{name}-{split}", "question": f"Who is {name}, {split}?", "answer": "Drace", "split": split}
            for split in SPLITS
        ]
        artifacts.write_rows(project / f"data/questions/{name}.jsonl", rows)
    folder = artifacts.fresh("split")
    write_table(folder / "train.parquet", [{"source": "c.md", "text": "Drace built it in 1783."}])
    return folder


def test_only_test_questions_are_asked_and_every_answer_is_written(base: Path, split: Path, config: Config) -> None:
    brief = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"max_new_tokens": 4})})
    out = artifacts.fresh("test/candidate")
    metrics = task.test({"sft": base, "dpo": base}, split, out, brief)
    rows = artifacts.read_rows(out / "dpo/answers.jsonl")
    assert [row["id"] for row in rows] == ["answerable-test", "unanswerable-test"]
    assert all(row["log_likelihood"] < 0 and "invented" in row for row in rows)
    assert artifacts.read_rows(out / "sft/answers.jsonl") == rows
    assert metrics["dpo.answer_accuracy"] == 0.0 and metrics["sft.answerable.wrong"] == 1.0  # random weights
    assert metrics["dpo.aurc"] == 1.0
    assert task.outcomes(out, ["sft", "dpo"])[-1] == {
        **{"model": "dpo", "set": "unanswerable", "kind": "unanswerable", "verdict": rows[1]["verdict"]},
    }


def test_the_parent_is_asked_before_an_aligned_candidate(config: Config) -> None:
    aligned, tuned = Selection("dpo", {}, [], parent="sft"), Selection("sft", {}, [], parent=None)
    assert task.chosen(aligned, config) == ["sft", "dpo"] and task.chosen(tuned, config) == ["sft"]
    alone = config.model_copy(update={"test": config.test.model_copy(update={"parent": False})})
    assert task.chosen(aligned, alone) == ["dpo"]


def test_protocol_names_the_question_files_and_the_code(split: Path, config: Config) -> None:
    for layer in ("pipelines", "tasks"):
        shutil.copytree(ROOT / layer, layer, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    found = task.protocol(config)
    content = (config.evaluate.questions / "answerable.jsonl").read_bytes()
    answerable, unanswerable = found["questions"]
    assert answerable["sha256"] == hashlib.sha256(content).hexdigest()
    assert (answerable["file"], unanswerable["test"]) == ("data/questions/answerable.jsonl", 1)
    assert (answerable["test"], answerable["validation"]) == (1, 1)
    assert found["decoding"]["num_beams"] == config.evaluate.beams
    assert found["code"] == task.protocol(config)["code"] != ""
