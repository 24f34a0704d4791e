"""Swaps: near words in the place of some; names, numbers, small words and languages without spaces stay."""

import random

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipelines.curation.synonyms import synonym_replacer
from pipelines.text.similarity import Vectors
from pipelines.text.stopwords import STOP_WORDS
from tests.conftest import tiny_tokenizer


def embedded(tok: PreTrainedTokenizerBase, alike: list[str]) -> Vectors:
    """Vectors in which the words `alike` point one way and all other tokens any way."""
    table = np.random.default_rng(0).normal(size=(len(tok), 64)).astype(np.float32)
    for word in alike:
        table[tok.convert_tokens_to_ids(f"Ġ{word}")] = 3.0
    return table


def words_of(tok: PreTrainedTokenizerBase) -> list[str]:
    """The words that it has whole, in small letters, and that mean something."""
    whole = sorted(token[1:] for token in tok.get_vocab() if token.startswith("Ġ"))
    return [word for word in whole if word.isalpha() and word.islower() and len(word) > 3 and word not in STOP_WORDS]


def test_near_words_take_the_place_of_others() -> None:
    tok = tiny_tokenizer()
    one, other, far = words_of(tok)[:3]
    swap = synonym_replacer(tok, embedded(tok, [one, other]), 1.0)
    assert swap(f"Who {one} the {one}?", random.Random(1)) == f"Who {other} the {other}?"
    kept = f"Who saw {far} of {one.title()} in 1921, 海港 the?"
    assert swap(kept, random.Random(1)) == kept
    assert synonym_replacer(tok, embedded(tok, [one, other]), 0.0)(one, random.Random(1)) == one


def test_a_share_of_the_words_is_swapped_the_same_twice() -> None:
    tok = tiny_tokenizer()
    one, other = words_of(tok)[:2]
    swap = synonym_replacer(tok, embedded(tok, [one, other]), 0.25)
    text = " ".join([one] * 400)
    said = swap(text, random.Random(1))
    assert said == swap(text, random.Random(1)) and 60 < said.split().count(other) < 140
