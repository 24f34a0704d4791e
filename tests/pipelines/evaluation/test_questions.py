"""Questions are read whole, and refused with a sentence when they are not."""

import json
from pathlib import Path

import pytest

from pipelines.evaluation import questions
from pipelines.evaluation.questions import SETS, SPLITS, load, question_dataset
from pipelines.runtime.errors import UserError


def write(folder: Path, **changes: object) -> Path:
    """Write one question a set and split; `changes` are made to the answerable test question."""
    for name in SETS:
        rows = [{"id": f"{name}-{split}", "question": "Who?", "answer": "Drace", "split": split} for split in SPLITS]
        rows[1] |= changes if name == "answerable" else {}
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_question_knows_what_answers_it_and_what_it_stands_or_falls_with(tmp_path: Path) -> None:
    found = {each.id: each for each in load(write(tmp_path, aliases=["Oswin"], sources=["b.md", "a.md"]))}
    assert found["answerable-test"].accepted == ("Drace", "Oswin")
    assert found["answerable-test"].cluster == "b.md"
    assert found["unanswerable-test"].accepted == ()
    assert found["unanswerable-test"].cluster == "unanswerable-test"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"answer": ""}, "'answer' is missing"),
        ({"answer": "—"}, "must hold a letter or a digit"),
        ({"answer": 1783}, "'answer' is 1783; it must be text"),
        ({"aliases": "Oswin"}, "'aliases' must be a list of texts"),
        ({"sources": [3]}, "'sources' must be a list of texts"),
        ({"split": "train"}, "must be 'validation' or 'test'"),
        ({"id": "general-test"}, "used for two questions"),
        ({"split": "validation"}, "no question whose split is 'test', so no model can be measured"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load(write(tmp_path, **changes))


def test_only_answerable_questions_must_be_there(tmp_path: Path) -> None:
    write(tmp_path)
    assert questions.unmeasured(load(tmp_path)) == []
    (tmp_path / "general.jsonl").unlink()
    (tmp_path / "unanswerable.jsonl").write_text("")
    assert {each.set for each in load(tmp_path)} == {"answerable"}
    assert questions.unmeasured(load(tmp_path)) == ["unanswerable", "general"]
    (tmp_path / "answerable.jsonl").unlink()
    with pytest.raises(UserError, match=r"answerable\.jsonl has no question"):
        load(tmp_path)


def test_lm_eval_gets_one_set_and_not_the_answers(tmp_path: Path) -> None:
    rows = list(question_dataset(str(write(tmp_path)), "general")["test"])
    assert rows == [{"id": "general-test", "question": "Who?"}, {"id": "general-validation", "question": "Who?"}]


def test_lm_eval_gets_the_held_out_text(tmp_path: Path) -> None:
    questions.artifacts.write_table(tmp_path / "test.parquet", [{"source": "a", "text": "b"}])
    assert list(questions.text_dataset(str(tmp_path / "test.parquet"))["test"]) == [{"source": "a", "text": "b"}]
