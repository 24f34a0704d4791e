"""Synonym replacement: neighbours replace some words; names, numbers, stop words and Chinese are unchanged."""

import random

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipelines.config import load
from pipelines.curation.config import CurateConfig
from pipelines.curation.synonyms import synonym_replacer
from pipelines.text.similarity import Vectors
from pipelines.text.stopwords import STOP_WORDS
from tests.conftest import ROOT, tiny_tokenizer


def embedded(tok: PreTrainedTokenizerBase, similar: list[str]) -> Vectors:
    """Return embeddings in which the words `similar` have equal vectors and all other tokens random ones."""
    table = np.random.default_rng(0).normal(size=(len(tok), 64)).astype(np.float32)
    for word in similar:
        table[tok.convert_tokens_to_ids(f"Ġ{word}")] = 3.0
    return table


def rate(synonym_rate: float) -> CurateConfig:
    return load(ROOT / "params.yaml").curate.model_copy(update={"synonym_rate": synonym_rate})


def words_of(tok: PreTrainedTokenizerBase) -> list[str]:
    """Return the lower-case content words that are one token of `tok`."""
    whole = sorted(token[1:] for token in tok.get_vocab() if token.startswith("Ġ"))
    return [word for word in whole if word.isalpha() and word.islower() and len(word) > 3 and word not in STOP_WORDS]


def test_neighbours_replace_words_and_other_text_is_unchanged() -> None:
    tok = tiny_tokenizer()
    one, other, unrelated = words_of(tok)[:3]
    replacer = synonym_replacer(tok, embedded(tok, [one, other]), rate(1.0))
    assert replacer(f"Who {one} the {one}?", random.Random(1)) == f"Who {other} the {other}?"
    unchanged = f"Who saw {unrelated} of {one.title()} in 1921, 海港 the?"
    assert replacer(unchanged, random.Random(1)) == unchanged
    assert synonym_replacer(tok, embedded(tok, [one, other]), rate(0.0))(one, random.Random(1)) == one


def test_synonym_rate_is_kept_and_seeded() -> None:
    tok = tiny_tokenizer()
    one, other = words_of(tok)[:2]
    replacer = synonym_replacer(tok, embedded(tok, [one, other]), rate(0.25))
    text = " ".join([one] * 400)
    result = replacer(text, random.Random(1))
    assert result == replacer(text, random.Random(1)) and 60 < result.split().count(other) < 140
