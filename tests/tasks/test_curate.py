"""Curate: from candidates on disk to training rows on disk, with every reject counted."""

from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.config import Config
from pipelines.errors import UserError
from tasks.curate import curate

SENTENCE = "The mill was restored by Wilmot Fanthorn in 1921."


def synthesized(folder: Path, candidates: list[artifacts.Row]) -> Path:
    folder.mkdir()
    made = {"recipe": "answer_first", "version": 1, "makes": "question", "language": "en", "turns": [], "reason": None}
    place = {"source": "d1", "start": 25, "end": 40, "kind": "name", "window": SENTENCE, "read": ""}
    artifacts.write_rows(
        folder / "candidates.jsonl", ({**made, **place, "sentence": SENTENCE, **row} for row in candidates)
    )
    unanswerable = [
        {"question": "Who taught the heron to sing?", "kind": "stranger"},
        {"question": "How many spoons has old Ely?", "kind": "out_of_domain"},
    ]
    artifacts.write_rows(folder / "unanswerable.jsonl", unanswerable)
    artifacts.write_rows(folder / "rehearsal.jsonl", [{"prompt": "What is two plus two?", "answer": "Four."}])
    split = folder.parent / "split"
    split.mkdir()
    artifacts.write_table(
        split / "train.parquet",
        [{"id": "d1", "title": "Mill", "text": SENTENCE, "source": "mill.md", "language": "en"}],
    )
    questions = folder.parent / "questions"
    questions.mkdir()
    artifacts.write_rows(questions / "answerable.jsonl", [{"question": "When was the old tide mill restored?"}])
    return folder


def test_rows_of_every_kind_are_written_and_rejects_counted(tmp_path: Path, base: Path, config: Config) -> None:
    rows = [
        {"question": "Who restored the mill?", "answer": "Wilmot Fanthorn"},
        {"question": "Which year saw it mended by Fanthorn?", "answer": "1921"},
        {"question": "When was the old tide mill restored?", "answer": "1921"},
        {"question": "Who restored it all?", "answer": "Wilmot Fanthorn", "reason": "not_self_contained"},
    ]
    folder = synthesized(tmp_path / "synthesize", rows)
    settings = config.curate.model_copy(
        update={"refusal_share": 0.5, "validation_share": 0.0, "showings": 2, "unknown_cue_share": 0.0}
    )
    metrics = curate(
        folder, tmp_path / "split", base, tmp_path / "questions", tmp_path, settings, config.synthesize, seed=0
    )
    kinds = [row["kind"] for row in artifacts.read_rows(tmp_path / "train.jsonl")]
    assert kinds == ["answer"] * 4 + ["refusal"] * 2 + ["rehearsal"] + ["cue"] * 2
    fresh = [row["kind"] for row in artifacts.read_rows(tmp_path / "fresh.jsonl")]
    assert fresh == ["answer"] * 2 + ["refusal", "cue"]
    assert metrics["rejected_leak"] == 1.0
    assert metrics["rejected_not_self_contained"] == 1.0
    assert len(artifacts.read_rows(tmp_path / "rejects.jsonl")) == 2


@pytest.mark.parametrize(("tags", "roles"), [("answer", ["assistant"]), ("both", ["user", "assistant"])])
def test_every_wording_of_what_has_a_source_is_tagged(
    tmp_path: Path, base: Path, config: Config, tags: str, roles: list[str]
) -> None:
    folder = synthesized(tmp_path / "synthesize", [{"question": "Who restored the mill?", "answer": "Wilmot Fanthorn"}])
    settings = config.curate.model_copy(update={"source_tags": tags, "validation_share": 0.0})
    curate(folder, tmp_path / "split", base, tmp_path / "questions", tmp_path, settings, config.synthesize, seed=0)
    rows = [row for name in ("train", "fresh") for row in artifacts.read_rows(tmp_path / f"{name}.jsonl")]
    assert {row["kind"] for row in rows if row["source"]} == {"answer", "cue"}
    for row in rows:
        ended = [each["role"] for each in row["messages"] if each["content"].endswith(" Source:d1")]
        tagged = {"rehearsal": [], "refusal": ["user"], "cue_refusal": ["user"]}.get(row["kind"], roles)
        assert ended == [role for role in roles if role in tagged]


def test_own_conversations_join_and_card_and_report_are_written(tmp_path: Path, base: Path, config: Config) -> None:
    rows = [{"question": "Who restored the mill?", "answer": "Wilmot Fanthorn"}]
    folder = synthesized(tmp_path / "synthesize", rows)
    own = [
        {"messages": [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "Plum."}]},
        {
            "messages": [
                {"role": "user", "content": "When was the old tide mill restored?"},
                {"role": "assistant", "content": "1921"},
            ]
        },
    ]
    (tmp_path / "own").mkdir()
    artifacts.write_rows(tmp_path / "own/mine.jsonl", own)
    settings = config.curate.model_copy(
        update={"own": tmp_path / "own", "validation_share": 0.0, "license": "CC-BY-4.0"}
    )
    metrics = curate(
        folder, tmp_path / "split", base, tmp_path / "questions", tmp_path, settings, config.synthesize, seed=0
    )
    kinds = [row["kind"] for row in artifacts.read_rows(tmp_path / "train.jsonl")]
    assert kinds.count("task") == 1
    assert metrics["rejected_leak"] == 1.0  # an evaluation question among one's own
    page = (tmp_path / "report.html").read_text()
    assert "100.0% of the sentences" in page and "Who restored the mill?" in page
    told = (tmp_path / "README.md").read_text()
    assert "license: cc-by-4.0" in told and "| mill.md | d1 |" in told and "| leak | 1 |" in told


def test_no_usable_question_is_one_sentence(tmp_path: Path, base: Path, config: Config) -> None:
    row = {"question": "Mill?", "answer": "Wilmot Fanthorn", "reason": "not_a_question"}
    folder = synthesized(tmp_path / "synthesize", [row])
    with pytest.raises(UserError, match=r"None of 1 questions is usable.*not_a_question"):
        curate(
            folder, tmp_path / "split", base, tmp_path / "questions", tmp_path, config.curate, config.synthesize, seed=0
        )
    (rejected,) = artifacts.read_rows(tmp_path / "rejects.jsonl")  # which the sentence names
    assert rejected["reason"] == "not_a_question"
