"""Other words for a question's words: their neighbours among the base model's own input embeddings.

Somebody who asks "who established the school?" means what a text calls "founded". A small model that has read a
question in one wording does not see that; shown near words in the place of some ("formed", "built"), it learns to look
past them. Only questions are changed, never answers, so that a poor neighbour teaches nothing false.
"""

import random
import re
from collections.abc import Callable
from functools import cache

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipelines.text.similarity import Vectors
from pipelines.text.stopwords import STOP_WORDS

SynonymReplacer = Callable[[str, random.Random], str]

_NEAREST = 8
_NEAR = 0.42  # cosine, of vectors less their mean; "rises" has "rose" at 0.58 and "increases" at 0.53
_SPACE = ("Ġ", "▁")  # how tokenizers write the space before a word
_WORD = re.compile(r"([a-z]{3,})([?,.']*)")


def synonym_replacer(tok: PreTrainedTokenizerBase, embedded: Vectors, share: float) -> SynonymReplacer:
    """Return a function that puts neighbours in the place of a `share` of the words of a text.

    Words are those that `tok` has whole and in small letters: names and numbers stay, and so do languages without
    spaces. `embedded` are the input embeddings (tokens, width).
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
        nearest = np.argsort(-cosines)[: _NEAREST + 1].tolist()
        return [words[at] for at in nearest if cosines[at] >= _NEAR and words[at] != word]

    def other(written: str, rng: random.Random) -> str:
        found = _WORD.fullmatch(written)
        if found is None or rng.random() >= share or not neighbours(found[1]):
            return written
        return rng.choice(neighbours(found[1])) + found[2]

    return lambda text, rng: " ".join(other(written, rng) for written in text.split())
