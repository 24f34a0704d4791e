"""Synonym replacement: words of a question are replaced by nearest neighbours in the base model's input embeddings.

A user asks "who established the school?" where the text says "founded". A small model trained on one wording does not
generalise to the other; trained with neighbours of some words ("formed", "built"), it does. Only questions are changed,
never answers, so that a poor neighbour adds no false statement.
"""

import random
import re
from collections.abc import Callable
from functools import cache

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipelines.curation.config import CurateConfig
from pipelines.text.similarity import Vectors
from pipelines.text.stopwords import STOP_WORDS

SynonymReplacer = Callable[[str, random.Random], str]

_NEIGHBOURS = 8  # nearest neighbours considered per word
_SPACE = ("Ġ", "▁")  # how tokenizers write the space before a word
_WORD = re.compile(r"([a-z]{3,})([?,.']*)")


def synonym_replacer(tok: PreTrainedTokenizerBase, embedded: Vectors, config: CurateConfig) -> SynonymReplacer:
    """Return a function that replaces a fraction of the words of a text, `config.synonym_rate`, by neighbours.

    Only words that are one lower-case token of `tok` are replaced; names, numbers and languages without spaces are
    unchanged. `embedded` are the input embeddings (tokens, width).
    """
    tokens = tok.convert_ids_to_tokens(range(min(len(tok), len(embedded))))
    places = {
        token[1:]: place
        for place, token in enumerate(tokens)
        if token.startswith(_SPACE) and _WORD.fullmatch(token[1:]) and token[1:] not in STOP_WORDS
    }
    words = list(places)
    table = embedded[list(places.values())] - embedded.mean(axis=0)
    table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    rows = {word: row for row, word in enumerate(words)}

    @cache
    def neighbours(word: str) -> list[str]:
        if word not in rows:
            return []
        cosines = table @ table[rows[word]]
        nearest = np.argsort(-cosines)[: _NEIGHBOURS + 1].tolist()
        return [words[at] for at in nearest if cosines[at] >= config.min_synonym_cosine and words[at] != word]

    def replaced(written: str, rng: random.Random) -> str:
        match = _WORD.fullmatch(written)
        if match is None or rng.random() >= config.synonym_rate or not neighbours(match[1]):
            return written
        return rng.choice(neighbours(match[1])) + match[2]

    return lambda text, rng: " ".join(replaced(written, rng) for written in text.split())
