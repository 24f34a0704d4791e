"""Semantic deduplication with a tiny model and the real libraries."""

from pathlib import Path

import numpy as np
import pytest
from model2vec import StaticModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from pipelines.config import Config
from pipelines.data import documents
from pipelines.data.config import SemanticConfig
from pipelines.data.dedup.semantic import neighbours, pairs
from pipelines.data.documents import Document
from pipelines.data.executor import Executor
from pipelines.runtime.errors import UserError
from tasks.dedup import dedup

WORDS = {
    "boat": (1, 0),
    "vessel": (1, 0.05),
    "left": (0.9, 0.1),
    "sailed": (0.9, 0.1),
    "sheep": (0, 1),
    "grazed": (0, 1),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model folder with vectors of six words."""
    known = {"[UNK]": 0} | {word: number for number, word in enumerate(WORDS, 1)}
    tokenizer = Tokenizer(WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    table = np.array([(0, 0), *WORDS.values()], dtype=np.float32)
    StaticModel(table, tokenizer).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def corpus(folder: Path) -> list[Path]:
    texts = ["boat left", "sheep grazed", "vessel sailed", "", "unknown words", "boat left vessel sailed", "? !"]
    documents.write(
        folder / "documents", [Document(f"d{n}", f"{n}.txt", None, "", "text", t) for n, t in enumerate(texts)]
    )
    return documents.shards(folder / "documents")


def test_paraphrases_are_pairs(tmp_path: Path, model: Path) -> None:
    found = pairs(corpus(tmp_path), str(model), 0.98, Executor())
    assert found.tolist() == [[0, 2], [0, 5], [2, 5]]


def test_paraphrases_form_a_cluster_with_reason_meaning(tmp_path: Path, model: Path, config: Config) -> None:
    corpus(tmp_path / "clean")
    (tmp_path / "dedup").mkdir()
    changed = {"semantic": SemanticConfig(model=str(model), similarity=0.98)}
    metrics = dedup(tmp_path / "clean", tmp_path / "dedup", config.dedup.model_copy(update=changed), Executor())
    assert (metrics["dropped_meaning"], metrics["dropped_near"], metrics["dropped"]) == (2, 0, 2)
    kept = [each.id for each in documents.read(tmp_path / "dedup/documents")]
    assert kept == ["d1", "d3", "d4", "d5", "d6"]


def test_neighbours_match_exhaustive_search_and_are_reproducible() -> None:
    drawn = np.random.default_rng(0).normal(size=(300, 24)).astype(np.float32)
    copies = drawn[:40] + np.random.default_rng(1).normal(scale=0.02, size=(40, 24)).astype(np.float32)
    every = np.concatenate([drawn, copies])
    every /= np.linalg.norm(every, axis=1, keepdims=True)
    truth = np.argwhere(np.triu(every @ every.T, 1) >= 0.9).tolist()
    assert neighbours(every, 0.9).tolist() == neighbours(every, 0.9).tolist() == truth
    assert len(truth) >= 40


def test_missing_model_and_libraries_raise_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no model in"):
        pairs(corpus(tmp_path), str(tmp_path / "nowhere"), 0.9, Executor())
    monkeypatch.setitem(__import__("sys").modules, "model2vec", None)
    with pytest.raises(UserError, match=r"gradus\[semantic\]"):
        pairs(corpus(tmp_path), str(tmp_path / "elsewhere"), 0.9, Executor())
