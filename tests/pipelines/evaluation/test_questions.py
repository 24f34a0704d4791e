"""Question files are validated on loading, with one clear error message per problem."""

import json
from pathlib import Path

import pytest

from pipelines.evaluation import questions
from pipelines.evaluation.questions import SETS, SPLITS, load, question_dataset
from pipelines.runtime.errors import UserError


def write(folder: Path, **changes: object) -> Path:
    """Write one question per set and split; `changes` apply to the answerable test question."""
    for name in SETS:
        rows = [{"id": f"{name}-{split}", "question": "Who?", "answer": "Drace", "split": split} for split in SPLITS]
        rows[1] |= changes if name == "answerable" else {}
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_question_has_accepted_answers_and_bootstrap_cluster(tmp_path: Path) -> None:
    loaded = {each.id: each for each in load(write(tmp_path, aliases=["Oswin"], sources=["b.md", "a.md"]))}
    assert loaded["answerable-test"].accepted == ("Drace", "Oswin")
    assert loaded["answerable-test"].cluster == "b.md"
    assert loaded["unanswerable-test"].accepted == ()
    assert loaded["unanswerable-test"].cluster == "unanswerable-test"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"answer": ""}, "'answer' is missing"),
        ({"answer": "—"}, "must contain a letter or a digit"),
        ({"answer": 1783}, "'answer' is 1783; it must be a quoted string"),
        ({"aliases": "Oswin"}, "'aliases' must be a list of strings"),
        ({"sources": [3]}, "'sources' must be a list of strings"),
        ({"split": "train"}, "must be 'validation' or 'test'"),
        ({"id": "general-test"}, "used for two questions"),
        ({"split": "validation"}, "no question whose split is 'test', so no model can be measured"),
    ],
)
def test_invalid_question_raises_user_error(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load(write(tmp_path, **changes))


def test_only_answerable_questions_are_required(tmp_path: Path) -> None:
    write(tmp_path)
    assert questions.unmeasured(load(tmp_path)) == []
    (tmp_path / "general.jsonl").unlink()
    (tmp_path / "unanswerable.jsonl").write_text("")
    assert {each.set for each in load(tmp_path)} == {"answerable"}
    assert questions.unmeasured(load(tmp_path)) == ["unanswerable", "general"]
    (tmp_path / "answerable.jsonl").unlink()
    with pytest.raises(UserError, match=r"answerable\.jsonl has no question"):
        load(tmp_path)


def test_question_dataset_has_one_set_without_answers(tmp_path: Path) -> None:
    rows = list(question_dataset(str(write(tmp_path)), "general")["test"])
    assert rows == [{"id": "general-test", "question": "Who?"}, {"id": "general-validation", "question": "Who?"}]


def test_text_dataset_has_the_held_out_text(tmp_path: Path) -> None:
    questions.artifacts.write_table(tmp_path / "test.parquet", [{"source": "a", "text": "b"}])
    assert list(questions.text_dataset(str(tmp_path / "test.parquet"))["test"]) == [{"source": "a", "text": "b"}]
