"""Evidence that the hand-written questions need in training."""

from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.data import documents
from pipelines.data.documents import Document
from pipelines.data.split import evidence
from pipelines.runtime.errors import UserError

PIECES = [
    "The mill was restored by Wilmot Fanthorn.\n\n",
    "He lived in Pell, and left it twenty-one geese.\n\n",
    "Heather grows on the hills, and 21 of them are named.\n\n",
    "Nothing more is known.",
]


def needed(tmp_path: Path, rows: list[Row], file: str = "answerable", named: bool = False) -> set[int]:
    """Return the pieces of a four-piece document that the questions need; with `named`, each question names it."""
    (tmp_path / "questions").mkdir()
    artifacts.write_rows(tmp_path / f"questions/{file}.jsonl", [row | {"sources": ["a.md"] * named} for row in rows])
    document = Document("d", "a.md", None, "", "markdown", "".join(PIECES))
    documents.write(tmp_path / "documents", [document], documents.CLUSTERED)
    (shard,) = documents.shards(tmp_path / "documents")
    questions = evidence.load_questions(tmp_path / "questions")
    rows_found = evidence.search(shard, questions, {"d": range(len(questions))} if named else {}, 1500)
    return {piece for _, piece in evidence.needed(rows_found, questions)[0]}


@pytest.mark.parametrize("named", [True, False])
def test_answer_needs_a_content_word_to_count_as_evidence(tmp_path: Path, named: bool) -> None:
    assert needed(tmp_path, [{"question": "Who restored the mill?", "answer": "Fanthorn"}], named=named) == {0}


def test_content_word_in_neighbour_counts_and_numbers_are_normalized(tmp_path: Path) -> None:
    rows_found = needed(tmp_path, [{"question": "How many did Fanthorn leave?", "answer": "21"}])
    assert 1 in rows_found and 3 not in rows_found


def test_paraphrased_answer_is_found_by_question_words(tmp_path: Path) -> None:
    assert needed(tmp_path, [{"question": "What grows on the hills?", "answer": "erica"}]) == {2}


def test_alias_and_answer_across_pieces_count(tmp_path: Path) -> None:
    row = {"question": "Who restored the mill?", "answer": "W. F.", "aliases": ["Wilmot Fanthorn. He"]}
    assert needed(tmp_path, [row]) == {0, 1}


def test_general_and_unanswered_questions_need_nothing(tmp_path: Path) -> None:
    assert needed(tmp_path, [{"question": "What grows on hills?", "answer": "Heather"}], "general") == set()


def test_unanswerable_question_without_sources_needs_nothing(tmp_path: Path) -> None:
    assert needed(tmp_path, [{"question": "Who painted the mill?"}], "unanswerable") == set()


def test_question_without_evidence_is_reported(tmp_path: Path) -> None:
    row = {"question": "Wer malte?", "answer": "Niemand", "sources": ["a.md"]}
    (tmp_path / "a.jsonl").touch()
    artifacts.write_rows(tmp_path / "a.jsonl", [row])
    assert evidence.needed([], evidence.load_questions(tmp_path)) == (set(), {0})


def test_missing_questions_are_allowed_and_invalid_sources_are_not(tmp_path: Path) -> None:
    assert evidence.load_questions(tmp_path / "missing") == evidence.load_questions(tmp_path) == []
    (tmp_path / "a.jsonl").write_text('{"id": "a1", "sources": "x.txt"}\n')
    with pytest.raises(UserError, match="a1"):
        evidence.load_questions(tmp_path)
