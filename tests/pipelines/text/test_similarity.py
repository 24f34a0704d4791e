"""Semantic similarity: word order is ignored, shared words are down-weighted, and duplicates need equal answers."""

from pathlib import Path

import numpy as np

from pipelines.curation.select import same_meaning
from pipelines.text.similarity import embeddings, meanings
from tests.conftest import SENTENCES, tiny_tokenizer
from tests.support.rows import candidate


def test_reordered_words_are_more_similar_than_other_words(base: Path) -> None:
    texts = [
        "Who restored the tide mill?",
        "The tide mill, who restored it?",
        "When does the ferry leave for the town?",
    ]
    vectors = meanings(texts + [line for line in SENTENCES if line][:40], tiny_tokenizer(), embeddings(base))
    assert vectors.shape == (43, 64)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_no_texts_yield_an_empty_array(base: Path) -> None:
    assert meanings([], tiny_tokenizer(), embeddings(base)).shape == (0, 64)


def test_only_earlier_questions_with_the_same_answer_are_duplicates() -> None:
    vectors = np.asarray([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    rows = [candidate("When?", answer=answer) for answer in ("1921", "Orr", "in 1921", "1921")]
    assert list(same_meaning(rows, vectors, 0.9)) == [False, False, True, False]
