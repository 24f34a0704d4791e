"""What a text looks like from outside: Gopher's heuristics (Rae et al. 2021, A1.1), whatever its script."""

import unicodedata
from collections import Counter
from dataclasses import dataclass

from pipelines.data.words import unspaced_share, word_count, words


@dataclass(frozen=True)
class Drop:
    """Why a document is thrown away."""

    reason: str
    detail: str


def judge(
    text: str,
    min_words: int,
    mean_word_length: tuple[float, float],
    min_alphabetic_share: float,
    max_top_ngram_share: float,
) -> Drop | None:
    """Return why `text` is no prose, or None when nothing speaks against it."""
    tokens = words(text)
    count = word_count(text)
    if not tokens or count < min_words:
        return Drop("few_words", f"{count:.0f} words")
    if (share := top_ngram_share(tokens)) > max_top_ngram_share:
        return Drop("repetition", f"{share:.2f} of the characters in one 2-gram")
    if (share := alphabetic_share(tokens)) < min_alphabetic_share:
        return Drop("few_letters", f"{share:.2f} of the words have a letter")
    shortest, longest = mean_word_length
    length = mean_length(tokens)
    if unspaced_share(text) < 0.5 and not shortest <= length <= longest:
        return Drop("word_length", f"{length:.1f} characters a word")
    return None


def top_ngram_share(tokens: list[str], n: int = 2) -> float:
    """Return the share of characters that the most frequent n-gram of words covers."""
    grams = Counter(zip(*(tokens[start:] for start in range(n)), strict=False))
    if not grams:
        return 0.0
    gram, count = max(grams.items(), key=lambda item: (item[1] * sum(map(len, item[0])), item[0]))
    characters = sum(map(len, tokens))
    return min(1.0, count * sum(map(len, gram)) / characters) if count > 1 else 0.0


def alphabetic_share(tokens: list[str]) -> float:
    """Return the share of words with at least one letter."""
    return sum(any(character.isalpha() for character in token) for token in tokens) / len(tokens)


def mean_length(tokens: list[str]) -> float:
    """Return the mean length of a word; a Korean syllable counts with its two or three letters."""
    decomposed = (unicodedata.normalize("NFD", token) for token in tokens)
    return sum(not unicodedata.combining(character) for token in decomposed for character in token) / len(tokens)
