"""Split on the sample corpus and on small ones."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.config import Config, SplitConfig
from pipelines.data import documents
from pipelines.data.documents import Document
from pipelines.data.runner import Runner
from pipelines.errors import UserError
from tasks.clean import clean
from tasks.dedup import dedup
from tasks.ingest import ingest
from tasks.split import split

DATA = Path(__file__).parent.parent.parent / "data"

QUESTION = "Who was the very first to hold the harbour master's post at Brunnick?"
PASSAGE = " ".join(f"On day {n} the keeper of tower {n * 7 % 31} wrote line {n * n} in his book." for n in range(6))


def settings(config: Config, questions: Path, **shares: float) -> SplitConfig:
    against = config.split.decontaminate.model_copy(update={"against": questions})
    return config.split.model_copy(update={"questions": questions, "decontaminate": against, **shares})


def write(directory: Path, count: int, sources: list[str]) -> Path:
    """`count` documents, of which the first has a duplicate, and one question about `sources`."""
    rows = [Document(f"id{n}", f"{n}.md", None, "", "markdown", f"Text {n}.") for n in range(count)]
    documents.write(directory / "documents", rows, documents.CLUSTERED)
    member = {"id": "copy", "source": "copy.md", "reason": "near", "similarity": 0.9}
    artifacts.write_rows(directory / "clusters.jsonl", [{"kept": "id0", "members": [member]}])
    (directory / "questions").mkdir()
    artifacts.write_rows(
        directory / "questions/a.jsonl", [{"id": "a", "sources": sources, "question": QUESTION}, {"id": "b"}]
    )
    return directory / "questions"


def ids(directory: Path, side: str) -> set[str]:
    return {row["id"] for row in artifacts.read_table(directory / f"{side}.parquet")}


def test_a_document_asked_about_by_its_duplicate_stays_in_training(config: Config, tmp_path: Path) -> None:
    questions = write(tmp_path, 3, ["copy.md"])
    metrics = split(
        tmp_path, tmp_path, settings(config, questions, test_share=0.9, validation_share=0.9), seed=1, runner=Runner()
    )
    assert ids(tmp_path, "train") == {"id0"}
    assert ids(tmp_path, "test") | ids(tmp_path, "validation") == {"id1", "id2"}
    assert metrics == {
        "documents_train": 1,
        "documents_validation": 1,
        "documents_test": 1,
        "documents_asked_about": 1,
        **{"overlaps": 0, "leaks": 0, "documents_cut": 0},
    }


def test_a_question_about_no_document_is_an_error_that_names_it(config: Config, tmp_path: Path) -> None:
    questions = write(tmp_path, 3, ["0.md", "gone.md"])
    with pytest.raises(UserError, match=r"a\.jsonl asks about gone\.md"):
        split(tmp_path, tmp_path, settings(config, questions), seed=1, runner=Runner())


def test_missing_questions_are_an_error(config: Config, tmp_path: Path) -> None:
    write(tmp_path, 3, ["0.md"])
    with pytest.raises(UserError, match="nowhere"):
        split(tmp_path, tmp_path, settings(config, tmp_path / "nowhere"), seed=1, runner=Runner())


def test_questions_about_everything_leave_empty_tables(config: Config, tmp_path: Path) -> None:
    questions = write(tmp_path, 2, ["0.md", "1.md"])
    split(tmp_path, tmp_path, settings(config, questions), seed=1, runner=Runner())
    assert ids(tmp_path, "test") == ids(tmp_path, "validation") == set()


def test_the_sample_corpus_holds_out_what_nobody_asks_about(config: Config, tmp_path: Path) -> None:
    for name in ("ingest", "clean", "dedup", "split"):
        (tmp_path / name).mkdir()
    ingest(config.ingest.model_copy(update={"source": DATA / "raw"}), tmp_path / "ingest")
    clean(tmp_path / "ingest", tmp_path / "clean", config.clean, Runner())
    dedup(tmp_path / "clean", tmp_path / "dedup", config.dedup, Runner())
    split(tmp_path / "dedup", tmp_path / "split", settings(config, DATA / "questions"), config.compute.seed, Runner())
    rows = [json.loads(line) for path in (DATA / "questions").glob("*.jsonl") for line in path.open()]
    asked = {source for row in rows for source in row["sources"]}
    held_out = [
        row for side in ("validation", "test") for row in artifacts.read_table(tmp_path / f"split/{side}.parquet")
    ]
    assert asked and len(held_out) >= 2
    assert not asked & {row["source"] for row in held_out}


def test_a_question_that_stands_in_a_document_is_cut_out_of_it(config: Config, tmp_path: Path) -> None:
    questions = write(tmp_path, 6, ["1.md"])
    shard = documents.shards(tmp_path / "documents")[0]
    rows = list(documents.read(shard))
    rows[1] = replace(rows[1], text=f"Before.\n\n{QUESTION.upper()} Oswin Drace.\n\nAfter.")
    rows[2] = replace(rows[2], text="Who was the very first to hold the lamp? The harbour master's post at Brunnick.")
    documents.write_shard(shard, rows, documents.CLUSTERED)
    metrics = split(tmp_path, tmp_path, settings(config, questions, test_share=0.0, validation_share=0.0), 1, Runner())
    texts = {row["id"]: row["text"] for row in artifacts.read_table(tmp_path / "train.parquet")}
    assert texts["id1"] == "Before.\n\nAfter." and texts["id2"] == rows[2].text
    (leak, borrowed) = artifacts.read_rows(tmp_path / "contamination.jsonl")
    assert (leak["item"], leak["document"], leak["item_share"], leak["action"]) == ("a", "id1", 1.0, "cut")
    assert (borrowed["document"], borrowed["action"]) == ("id2", "none") and borrowed["item_share"] < 0.8
    assert (metrics["leaks"], metrics["documents_cut"]) == (1, 1)


def test_what_training_has_too_is_cut_from_what_is_held_out(config: Config, tmp_path: Path) -> None:
    questions = write(tmp_path, 6, ["0.md"])
    shard = documents.shards(tmp_path / "documents")[0]
    rows = [replace(each, text=f"{each.text}\n\n{PASSAGE}") for each in documents.read(shard)]
    documents.write_shard(shard, rows, documents.CLUSTERED)
    split(tmp_path, tmp_path, settings(config, questions, test_share=0.3, validation_share=0.0), 1, Runner())
    train = [row["text"] for row in artifacts.read_table(tmp_path / "train.parquet")]
    held_out = [row["text"] for row in artifacts.read_table(tmp_path / "test.parquet")]
    assert held_out and all(PASSAGE in text for text in train)
    assert not any(PASSAGE in text for text in held_out) and all(text.startswith("Text") for text in held_out)


def test_what_leaks_can_be_reported_alone(config: Config, tmp_path: Path) -> None:
    questions = write(tmp_path, 3, ["0.md"])
    shard = documents.shards(tmp_path / "documents")[0]
    rows = [replace(each, text=f"{each.text}\n\n{QUESTION}") for each in documents.read(shard)]
    documents.write_shard(shard, rows, documents.CLUSTERED)
    asked = settings(config, questions, test_share=0.0, validation_share=0.0)
    reported = asked.decontaminate.model_copy(update={"action": "report"})
    metrics = split(tmp_path, tmp_path, asked.model_copy(update={"decontaminate": reported}), 1, Runner())
    assert (metrics["leaks"], metrics["documents_cut"]) == (3, 0)
    assert all(QUESTION in row["text"] for row in artifacts.read_table(tmp_path / "train.parquet"))
