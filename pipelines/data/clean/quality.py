"""Document-level quality heuristics of Gopher, C4 and FineWeb, adapted to all scripts.

Each rule has one limit; a rule without a limit is off. Gopher: Rae et al. 2021 (arXiv 2112.11446), A1.1; C4: Raffel et
al. 2020 (arXiv 1910.10683), 2.2; FineWeb: Penedo et al. 2024 (arXiv 2406.17557), 3.6.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pipelines.text.stats import Text, repeated_bound, repeated_share, top_bound, top_share

_STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_BULLETS = ("-", "*", "•", "‣", "◦", "·")
_ENDS = tuple(".!?…\"'”’。！？」』")
_SHORT = 30  # characters; shorter lines count as short


@dataclass(frozen=True)
class Drop:
    """Reason for dropping a document, with details."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Rule:
    """A limit on one measure; the prefix of `name`, `min_` or `max_`, gives its direction."""

    name: str
    reason: str
    measure: Callable[[Text], float]
    unit: str
    bound: Callable[[Text], float] | None = None
    """Cheap bound that the measure cannot exceed (`max_`) or fall below (`min_`); evaluated first."""

    def broken(self, text: Text, limit: float) -> Drop | None:
        """Return the drop if `text` violates `limit`, else None."""
        if self.bound is not None and not self._beyond(self.bound(text), limit):
            return None
        value = self.measure(text)
        return Drop(self.reason, f"{value:.3g} {self.unit}") if self._beyond(value, limit) else None

    def _beyond(self, value: float, limit: float) -> bool:
        return value < limit if self.name.startswith("min_") else value > limit


def judge(text: str, limits: Mapping[str, float], language: str = "") -> Drop | None:
    """Return the first violated rule as a drop, or None if `text` passes.

    `limits` maps names in `RULES` to limits; `language` is an ISO 639-1 code.
    """
    stats = Text(text)
    if not stats.words:
        return Drop("few_words", "0 words")
    for rule in RULES:
        if rule.name in limits and (rule.name not in _ENGLISH or language == "en"):
            drop = rule.broken(stats, limits[rule.name])
            if drop:
                return drop
    return None


def _repeated(parts: Sequence[str]) -> float:
    return 1 - len(set(parts)) / len(parts)


def _repeated_characters(parts: Sequence[str]) -> float:
    again = (count - 1 for count in Counter(parts).values())
    return sum(len(part) * more for part, more in zip(Counter(parts), again, strict=True)) / sum(map(len, parts))


def _alphabetic(text: Text) -> float:
    others = [word for word in text.words if not word.isalpha()]
    without = [word for word in others if not any(map(str.isalpha, word))]
    return 1 - len(without) / len(text.words)


def _all_alphabetic(text: Text) -> float:
    return sum(map(str.isalpha, text.words)) / len(text.words)


def _ellipses(text: str) -> int:
    return text.count("...") + text.count("…")


def _sentences(text: Text) -> float:
    return float(sum(text.text.count(end) for end in ".!?。！？"))


_ENGLISH = frozenset({"min_stop_words"})
_CHARACTERS = "of the characters in"
RULES = [
    Rule("min_words", "few_words", lambda text: text.word_count, "words"),
    Rule("max_words", "many_words", lambda text: text.word_count, "words"),
    *(
        Rule(
            f"max_top_{n}gram",
            "repetition",
            partial(top_share, size=n),
            f"{_CHARACTERS} the most frequent {n}-gram",
            partial(top_bound, size=n),
        )
        for n in (2, 3, 4)
    ),
    *(
        Rule(
            f"max_repeated_{n}gram",
            "repetition",
            partial(repeated_share, size=n),
            f"{_CHARACTERS} repeated {n}-grams",
            partial(repeated_bound, size=n),
        )
        for n in (5, 6, 7, 8, 9, 10)
    ),
    Rule("max_repeated_lines", "repetition", lambda text: _repeated(text.lines), "of the lines are repeated"),
    Rule(
        "max_repeated_line_characters",
        "repetition",
        lambda text: _repeated_characters(text.lines),
        f"{_CHARACTERS} repeated lines",
    ),
    Rule(
        "max_repeated_paragraphs",
        "repetition",
        lambda text: _repeated(text.paragraphs),
        "of the paragraphs are repeated",
    ),
    Rule(
        "max_repeated_paragraph_characters",
        "repetition",
        lambda text: _repeated_characters(text.paragraphs),
        f"{_CHARACTERS} repeated paragraphs",
    ),
    Rule("min_alphabetic", "few_letters", _alphabetic, "of the words have a letter", _all_alphabetic),
    Rule("min_mean_word", "word_length", lambda text: text.mean_word, "characters per word"),
    Rule("max_mean_word", "word_length", lambda text: text.mean_word, "characters per word"),
    Rule("max_word", "long_word", lambda text: text.longest, "characters in one word"),
    Rule("max_hashes", "symbols", lambda text: text.per_word(text.text.count("#")), "hashes per word"),
    Rule("max_ellipses", "symbols", lambda text: text.per_word(_ellipses(text.text)), "ellipses per word"),
    Rule(
        "max_bullet_lines",
        "bullets",
        lambda text: text.of_lines(lambda line: line.startswith(_BULLETS)),
        "of the lines are bullets",
    ),
    Rule(
        "max_ellipsis_lines",
        "ellipses",
        lambda text: text.of_lines(lambda line: line.endswith(("...", "…"))),
        "of the lines end in an ellipsis",
    ),
    Rule(
        "min_stop_words",
        "few_stop_words",
        lambda text: len(_STOP_WORDS & {word.lower() for word in text.words}),
        "stop words",
    ),
    Rule("max_lorem_ipsum", "lorem_ipsum", lambda text: text.text.lower().count("lorem ipsum"), "times lorem ipsum"),
    Rule("max_curly_brackets", "curly_brackets", lambda text: text.text.count("{"), "curly brackets"),
    Rule("min_sentences", "few_sentences", _sentences, "sentences"),
    Rule(
        "min_punctuated_lines",
        "unpunctuated",
        lambda text: text.of_lines(lambda line: line.endswith(_ENDS)),
        "of the lines end a sentence",
    ),
    Rule(
        "max_short_lines",
        "short_lines",
        lambda text: text.of_lines(lambda line: len(line) < _SHORT),
        "of the lines are short",
    ),
    Rule("max_newlines", "newlines", lambda text: text.per_word(text.text.count("\n")), "line breaks per word"),
]
"""Rules in evaluation order."""
