"""Meanings: words in another order mean the same, words that all share mean nothing, and answers must agree."""

from pathlib import Path

import numpy as np

from pipelines.curation.select import same_meaning
from pipelines.text.similarity import embeddings, meanings
from tests.conftest import SENTENCES, tiny_tokenizer


def test_the_same_words_in_another_order_are_closer_than_other_words(base: Path) -> None:
    texts = [
        "Who restored the tide mill?",
        "The tide mill, who restored it?",
        "When does the ferry leave for the town?",
    ]
    vectors = meanings(texts + [line for line in SENTENCES if line][:40], tiny_tokenizer(), embeddings(base))
    assert vectors.shape == (43, 64)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_nothing_has_no_meaning(base: Path) -> None:
    assert meanings([], tiny_tokenizer(), embeddings(base)).shape == (0, 64)


def test_only_an_earlier_question_with_the_same_answer_counts() -> None:
    vectors = np.asarray([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    rows = [{"answer": answer, "makes": "question"} for answer in ("1921", "Orr", "in 1921", "1921")]
    assert list(same_meaning(rows, vectors, 0.9)) == [False, False, True, False]
