"""Open book on the tiny model: passages in the prompts, the cascade, the table, and errors before any decoding."""

from pathlib import Path
from typing import Any

import pytest

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.evaluation import asking
from pipelines.evaluation.questions import SETS, SPLITS, Question
from pipelines.evaluation.retrieval import open_book
from pipelines.evaluation.retrieval.table import SHOWN, table
from pipelines.runtime.errors import UserError
from tasks.open_book import answer
from tests.support.tables import write_table

pytestmark = pytest.mark.slow

TEXT = "The tide mill was built by Emeric Vosper. It is closed. The ferry sails on Saturdays."


@pytest.fixture
def documents(project: Path) -> Path:
    """One document, and a question per set and split, of which the answerable ones are answered by it."""
    asked = {"answerable": "Who built the tide mill", "unanswerable": "Who sold the ferry", "general": "What is rain"}
    (project / "data/questions").mkdir(parents=True)
    for name in SETS:
        rows = [
            {"id": f"{name}-{split}", "question": f"{asked[name]}, {split}?", "answer": "Vosper", "split": split}
            for split in SPLITS
        ]
        artifacts.write_rows(project / f"data/questions/{name}.jsonl", rows)
    path = artifacts.fresh("split") / "train.parquet"
    write_table(path, [{"source": "mill.md", "title": "Mills", "text": TEXT}])
    return path


@pytest.fixture
def brief(config: Config) -> Config:
    """Parameters with short answers and short passages."""
    evaluate = config.evaluate.model_copy(update={"max_new_tokens": 3, "beams": 2})
    opened = config.open_book.model_copy(update={"passage_sentences": 2})
    return config.model_copy(update={"evaluate": evaluate, "open_book": opened})


def closed(**answers: str) -> list[Row]:
    """Return the candidate's closed-book answers to all questions, by set."""
    return [
        {
            **{"id": f"{name}-{split}", "set": name, "kind": name, "split": split, "cluster": f"{name}-{split}"},
            **{"question": "Who?", "accepted": [], "competing": [], "verdict": "refused", "f1": 0.0},
            "answer": answers[name],
        }
        for name in sorted(SETS)
        for split in SPLITS
    ]


def test_test_questions_are_answered_with_the_passage_that_was_found(
    base: Path, documents: Path, brief: Config
) -> None:
    rows = closed(answerable="I don't know.", general="Rain.", unanswerable="Drace sold it.")
    out = artifacts.fresh("open_book")
    metrics = answer({"base": base, "sft": base}, rows, documents, out, brief)
    found = artifacts.read_rows(out / "sft.jsonl")
    assert [row["id"] for row in found] == ["answerable-test", "unanswerable-test"]
    assert found[0]["passage"] == "Mills\nThe tide mill was built by Emeric Vosper. It is closed."
    assert found[0]["source"] == "mill.md" and found[0]["verdict"] == "wrong"  # random weights
    both = artifacts.read_rows(out / "both.jsonl")
    assert both[0]["answer"] == found[0]["answer"] and both[0]["source"] == "mill.md"  # instead of a refusal
    assert both[1]["answer"] == "Drace sold it." and both[1]["source"] is None
    assert metrics["retrieval.recall_at_1"] == 1.0
    assert {"base.answer_accuracy", "sft.refusal_recall", "both.score"} <= set(metrics)
    before = {path.name: path.read_bytes() for path in artifacts.files(out)}
    assert set(before) == {"base.jsonl", "sft.jsonl", "both.jsonl"}
    assert answer({"base": base, "sft": base}, rows, documents, artifacts.fresh("open_book"), brief) == metrics
    assert {path.name: path.read_bytes() for path in artifacts.files(out)} == before


def test_sample_has_the_proportion_of_the_sets_and_no_general_questions() -> None:
    def question(name: str, number: int) -> Question:
        return Question(f"{name}{number}", name, "who", "test", f"Who is {number}?", (), (), ())

    asked = [question(name, number) for name, count in zip(SETS, (60, 30, 90), strict=True) for number in range(count)]
    found = open_book.sampled(asked, 30, seed=1)
    assert [sum(each.set == name for each in found) for name in SETS] == [20, 10, 0]
    assert found == open_book.sampled(asked, 30, seed=1) != open_book.sampled(asked, 30, seed=2)
    assert open_book.sampled(asked, 500, seed=1) == sorted(asked[:90], key=lambda each: each.id)


def test_prompts_hold_the_passages_and_fit_the_context(
    base: Path, documents: Path, brief: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []

    def encoded(_: object, messages: list[dict[str, str]]) -> list[int]:
        prompts.append(messages[0]["content"])
        return [1] * 600

    monkeypatch.setattr(asking, "encode_prompt", encoded)
    rows = closed(answerable="x", general="x", unanswerable="x")
    with pytest.raises(UserError, match=r"prompt has 600 tokens, .* room for 509; .* lower open_book\.passages"):
        answer({"base": base, "sft": base}, rows, documents, artifacts.fresh("open_book"), brief)
    assert "Text: Mills\nThe tide mill was built by Emeric Vosper. It is closed." in prompts[0]
    assert "Question: Who built the tide mill, test?" in prompts[0]


def test_a_model_named_both_raises(base: Path, documents: Path, brief: Config) -> None:
    with pytest.raises(UserError, match="has a model named 'both'"):
        answer({"base": base, "both": base}, [], documents, artifacts.fresh("open_book"), brief)


def test_recall_counts_answerable_questions_with_an_accepted_answer_in_the_passage() -> None:
    rows: list[dict[str, Any]] = [
        {"set": "answerable", "accepted": ["1731"], "passage": "Built in 1731."},
        {"set": "answerable", "accepted": ["173"], "passage": "Built in 1731."},
        {"set": "unanswerable", "accepted": [], "passage": "Built in 1731."},
    ]
    assert open_book.recall(rows) == 0.5


def test_table_compares_tuning_with_retrieval(config: Config) -> None:
    def rows(verdict: str) -> list[Row]:
        common = {"accepted": ["Vosper"], "passage": "Vosper", "f1": 0.0}
        asked = [("answerable", verdict), ("unanswerable", "refused")] * 20
        return [
            {**common, "set": name, "verdict": each, "cluster": str(place)} for place, (name, each) in enumerate(asked)
        ]

    alone = {"base": rows("wrong"), "sft": rows("correct")}
    opened = {"base": rows("correct"), "sft": rows("correct")}
    result = table(alone, opened, rows("correct"), None, config.compare, seed=1)
    assert result["order"] == [
        *("base, closed book", "base, open book", "sft, closed book", "sft, open book", "sft, both")
    ]
    assert set(result["models"]["sft, both"]) == {*SHOWN, "intervals"}
    assert result["models"]["base, closed book"]["score"] == -3.0
    assert result["tuning"]["answer_accuracy"]["value"] == 0.0 and result["recall"] == 1.0
