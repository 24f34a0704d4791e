"""What the hand-written questions need in training."""

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
    """The pieces of a document of four that the questions need; with `named`, each names it."""
    (tmp_path / "questions").mkdir()
    artifacts.write_rows(tmp_path / f"questions/{file}.jsonl", [row | {"sources": ["a.md"] * named} for row in rows])
    document = Document("d", "a.md", None, "", "markdown", "".join(PIECES))
    documents.write(tmp_path / "documents", [document], documents.CLUSTERED)
    (shard,) = documents.shards(tmp_path / "documents")
    asked = evidence.questions(tmp_path / "questions")
    found = evidence.search(shard, asked, {"d": range(len(asked))} if named else {}, 1500)
    return {piece for _, piece in evidence.needed(found, asked)[0]}


@pytest.mark.parametrize("named", [True, False])
def test_the_answer_beside_a_content_word_is_needed_and_alone_is_not(tmp_path: Path, named: bool) -> None:
    assert needed(tmp_path, [{"question": "Who restored the mill?", "answer": "Fanthorn"}], named=named) == {0}


def test_a_content_word_may_stand_in_the_neighbour_and_numbers_are_levelled(tmp_path: Path) -> None:
    found = needed(tmp_path, [{"question": "How many did Fanthorn leave?", "answer": "21"}])
    assert 1 in found and 3 not in found


def test_an_answer_in_other_words_is_found_by_those_of_the_question(tmp_path: Path) -> None:
    assert needed(tmp_path, [{"question": "What grows on the hills?", "answer": "erica"}]) == {2}


def test_an_alias_and_an_answer_across_pieces_count(tmp_path: Path) -> None:
    row = {"question": "Who restored the mill?", "answer": "W. F.", "aliases": ["Wilmot Fanthorn. He"]}
    assert needed(tmp_path, [row]) == {0, 1}


def test_general_questions_and_those_without_an_answer_need_nothing(tmp_path: Path) -> None:
    assert needed(tmp_path, [{"question": "What grows on hills?", "answer": "Heather"}], "general") == set()


def test_an_unanswerable_question_without_sources_needs_nothing(tmp_path: Path) -> None:
    assert needed(tmp_path, [{"question": "Who painted the mill?"}], "unanswerable") == set()


def test_of_a_question_in_no_word_of_the_documents_that_is_told(tmp_path: Path) -> None:
    row = {"question": "Wer malte?", "answer": "Niemand", "sources": ["a.md"]}
    (tmp_path / "a.jsonl").touch()
    artifacts.write_rows(tmp_path / "a.jsonl", [row])
    assert evidence.needed([], evidence.questions(tmp_path)) == (set(), {0})


def test_there_may_be_no_questions_but_none_with_broken_sources(tmp_path: Path) -> None:
    assert evidence.questions(tmp_path / "missing") == evidence.questions(tmp_path) == []
    (tmp_path / "a.jsonl").write_text('{"id": "a1", "sources": "x.txt"}\n')
    with pytest.raises(UserError, match="a1"):
        evidence.questions(tmp_path)
