"""Question files are validated on loading, with one clear error message per problem."""

import json
from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.evaluation import questions
from pipelines.evaluation.questions import SETS, SPLITS, load
from pipelines.runtime.errors import UserError


def write(folder: Path, **changes: object) -> Path:
    """Write one question per set and split; `changes` apply to the answerable test question."""
    for name in SETS:
        asked = [
            {"id": f"{name}-{split}", "question": f"Who is {name} in {split}?", "split": split} for split in SPLITS
        ]
        rows: list[artifacts.Row] = [{**each, "answer": "Drace"} for each in asked]
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
        ({"direction": "sideways"}, "direction is 'sideways'; it must be 'forward' or 'backward'"),
        ({"choices": ["Drace", "Tule"]}, "only general questions may have choices"),
        ({"twin": ["a"]}, r"twin is \['a'\]; it must be the id of a question"),
        ({"twin": "nobody"}, "its twin 'nobody' is not an answerable question of the split 'test'"),
        (
            {"question": "who is  General in test?"},
            "'answerable-test' and 'general-test' ask the same question; remove",
        ),
        (
            {"question": "Who is general in test?", "answer": "Tule"},
            "'answerable-test' and 'general-test' ask the same question, with contradicting answers; remove one",
        ),
        ({"split": "validation"}, "no question whose split is 'test', and none is held back"),
    ],
)
def test_invalid_question_raises_user_error(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load(write(tmp_path, **changes))


def test_questions_that_differ_in_punctuation_alone_are_different(tmp_path: Path) -> None:
    write(tmp_path, question="What is C?")
    row = {"id": "c", "question": "What is C++?", "answer": "a language", "split": "test"}
    (tmp_path / "general.jsonl").write_text(json.dumps(row))
    assert {"What is C?", "What is C++?"} <= {each.question for each in load(tmp_path)}


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


@pytest.mark.parametrize("choices", [["Drace"], ["Drace", "Drace"], ["Tule", "Munsey"]])
def test_choices_must_be_different_and_contain_the_answer(tmp_path: Path, choices: list[str]) -> None:
    write(tmp_path)
    row = {"id": "c", "question": "Which?", "answer": "Drace", "split": "test", "choices": choices}
    (tmp_path / "general.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError, match="two or more different texts, with the answer among them"):
        load(tmp_path)


def test_limit_keeps_a_random_sample_of_each_set_and_split(tmp_path: Path) -> None:
    def ask(name: str, count: int, split: str) -> list[artifacts.Row]:
        ids = [f"{name}-{split}-{number}" for number in range(count)]
        twins = [each.replace("unanswerable", "answerable") if name == "unanswerable" else None for each in ids]
        asked = [{"id": each, "question": f"Who is {each}?", "answer": "Drace", "split": split} for each in ids]
        return [{**row, "twin": twin} for row, twin in zip(asked, twins, strict=True)]

    def kept(limit: int | None) -> set[str]:
        return {each.id for each in load(tmp_path, limit)}

    for name in SETS[:2]:
        rows = [row for split in SPLITS for row in ask(name, 30, split)]
        artifacts.write_rows(tmp_path / f"{name}.jsonl", rows)
    few = kept(10)
    assert len(few) == 40 and len(kept(None)) == len(kept(99)) == 120
    assert {each.replace("un", "") for each in few} == {each for each in few if not each.startswith("un")}
    assert few != {f"{name}-{split}-{number}" for name in SETS[:2] for split in SPLITS for number in range(10)}
    rows = [row for split in SPLITS for row in ask("answerable", 31, split)]  # one question more
    artifacts.write_rows(tmp_path / "answerable.jsonl", rows)
    assert len(few - kept(10)) <= 2
    assert {each.id for each in questions.of_split("test", tmp_path, 10)} == {
        each for each in kept(10) if "test" in each
    }
