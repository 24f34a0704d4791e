"""What a text looks like from outside: the heuristics of Gopher, C4 and FineWeb, whatever its script.

Each rule is one limit; one that is not given is off. Gopher: Rae et al. 2021 (arXiv 2112.11446), A1.1; C4: Raffel et
al. 2020 (arXiv 1910.10683), 2.2; FineWeb: Penedo et al. 2024 (arXiv 2406.17557), 3.6. Where words are not separated a
run of them has twice as many characters as it has words elsewhere.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from pipelines.data.words import unspaced_share, word_count, words

_STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_BULLETS = ("-", "*", "•", "‣", "◦", "·")
_ENDS = tuple(".!?…\"'”’。！？」』")
_SHORT = 30  # characters of a short line
_FACTORS = np.random.default_rng(0).integers(2**62, size=20) * 2 + 1


class _WithoutMarks(dict[int, int | None]):
    """A translation that learns: marks that combine with a letter are left out."""

    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.combining(chr(code)) else code
        return self[code]


_WITHOUT_MARKS = _WithoutMarks()


@dataclass(frozen=True)
class Drop:
    """Why a document is thrown away."""

    reason: str
    detail: str


class Text:
    """A text and what is counted in it, each thing once."""

    def __init__(self, text: str) -> None:
        """Look at `text`."""
        self.text = text
        self.words = words(text)
        self.lines = [line for line in map(str.strip, text.split("\n")) if line]
        self._runs = [np.fromiter(map(hash, self.words), dtype=np.int64)]

    @cached_property
    def unspaced(self) -> bool:
        """Whether most of it is of a script that does not separate words."""
        return unspaced_share(self.text) >= 0.5

    @cached_property
    def paragraphs(self) -> list[str]:
        """What stands between empty lines."""
        return [each for each in map(str.strip, self.text.split("\n\n")) if each]

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The characters up to each word, and up to the end."""
        return np.concatenate([[0], np.cumsum(np.fromiter(map(len, self.words), dtype=np.int64))])

    @property
    def characters(self) -> int:
        """How many the words have."""
        return int(self.lengths[-1])

    @cached_property
    def mean_word(self) -> float:
        """The characters of a word, a Korean syllable as its two or three letters; 5 where words are not separated."""
        if self.text.isascii():
            return self.characters / len(self.words)
        if self.unspaced:
            return 5.0
        letters = unicodedata.normalize("NFD", "".join(self.words)).translate(_WITHOUT_MARKS)
        return len(letters) / len(self.words)

    def per_word(self, count: int) -> float:
        """Return a count by the number of words."""
        return count / len(self.words)

    def of_lines(self, is_so: Callable[[str], object]) -> float:
        """Return the share of the lines of which something is so."""
        return sum(bool(is_so(line)) for line in self.lines) / len(self.lines)

    @cached_property
    def longest(self) -> int:
        """The characters of the longest word."""
        return max(map(len, self.words))

    @cached_property
    def word_count(self) -> float:
        """The number of words, a character of an unspaced script as half of one."""
        return word_count(self.text)

    def most(self, size: int) -> int:
        """Return the characters that a run of `size` words can have at most."""
        return size * self.longest * (2 if self.unspaced else 1)

    @cached_property
    def top_pair(self) -> int:
        """How often the most frequent run of 2 words stands there; no longer run is more frequent."""
        if len(self.runs(2)[0]) == 0:
            return 0
        ordered = np.sort(self.runs(2)[0])
        edges = np.concatenate([[-1], np.flatnonzero(ordered[1:] != ordered[:-1]), [len(ordered) - 1]])
        return int((edges[1:] - edges[:-1]).max())

    @cached_property
    def repeated_fives(self) -> int:
        """How many runs of 5 words have been seen before; of longer ones there are no more."""
        ordered = np.sort(self.runs(5)[0])
        return int(np.count_nonzero(ordered[1:] == ordered[:-1]))

    def runs(self, size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return a hash and the characters of every run of `size` words; equal runs have equal hashes."""
        size *= 2 if self.unspaced else 1
        hashes = self._hashes(size)
        return hashes, self.lengths[size:] - self.lengths[: len(hashes)]

    def _hashes(self, size: int) -> npt.NDArray[np.int64]:
        """Return the hashes of runs, made from those that are one word shorter."""
        while len(self._runs) < size:
            at = len(self._runs)
            self._runs.append(self._runs[-1][:-1] + self._runs[0][at:] * _FACTORS[at])
        return self._runs[size - 1]


@dataclass(frozen=True)
class Rule:
    """One limit: its name begins with `min_` or `max_`, the other things say what broke it."""

    name: str
    reason: str
    measure: Callable[[Text], float]
    unit: str
    bound: Callable[[Text], float] | None = None
    """What a measure cannot exceed (`max_`) or fall below (`min_`), where that is told sooner."""

    def broken(self, text: Text, limit: float) -> Drop | None:
        """Return the drop that follows when `text` is beyond `limit`."""
        if self.bound is not None and not self._beyond(self.bound(text), limit):
            return None
        value = self.measure(text)
        return Drop(self.reason, f"{value:.3g} {self.unit}") if self._beyond(value, limit) else None

    def _beyond(self, value: float, limit: float) -> bool:
        return value < limit if self.name.startswith("min_") else value > limit


def judge(text: str, limits: Mapping[str, float], language: str = "") -> Drop | None:
    """Return why `text` is no prose, or None when nothing speaks against it.

    `limits` are by the names of `RULES`; `language` is an ISO 639-1 code.
    """
    looked_at = Text(text)
    if not looked_at.words:
        return Drop("few_words", "0 words")
    for rule in RULES:
        if rule.name in limits and (rule.name not in _ENGLISH or language == "en"):
            drop = rule.broken(looked_at, limits[rule.name])
            if drop:
                return drop
    return None


def top_share(text: Text, size: int) -> float:
    """Return the share of the characters that one run of `size` words covers, when it stands there more than once."""
    hashes, characters = text.runs(size)
    order = np.argsort(hashes)
    ordered = hashes[order]
    first = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
    if len(first) >= len(order):
        return 0.0
    counts = np.append(first[1:], len(order)) - first
    covered = (counts * characters[order[first]])[counts > 1]
    return min(1.0, int(covered.max()) / text.characters)


def top_bound(text: Text, size: int) -> float:
    """Return what `top_share` cannot exceed."""
    return text.top_pair * text.most(size) / text.characters


def repeated_bound(text: Text, size: int) -> float:
    """Return what `repeated_share` cannot exceed, for runs of 5 words and more."""
    return text.repeated_fives * text.most(size) / text.characters


def repeated_share(text: Text, size: int) -> float:
    """Return the share of the characters that lie in runs of `size` words seen before, each counted once."""
    hashes, characters = text.runs(size)
    order = np.argsort(hashes, kind="stable")
    again = np.sort(order[1:][hashes[order[1:]] == hashes[order[:-1]]]).tolist()
    length = len(text.words) - len(hashes) + 1
    covered = end = 0
    for place in again:
        if place >= end:
            covered += int(characters[place])
            end = place + length
    return covered / text.characters


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
            f"{_CHARACTERS} one run of {n} words",
            partial(top_bound, size=n),
        )
        for n in (2, 3, 4)
    ),
    *(
        Rule(
            f"max_repeated_{n}gram",
            "repetition",
            partial(repeated_share, size=n),
            f"{_CHARACTERS} runs of {n} words seen before",
            partial(repeated_bound, size=n),
        )
        for n in (5, 6, 7, 8, 9, 10)
    ),
    Rule("max_repeated_lines", "repetition", lambda text: _repeated(text.lines), "of the lines seen before"),
    Rule(
        "max_repeated_line_characters",
        "repetition",
        lambda text: _repeated_characters(text.lines),
        f"{_CHARACTERS} lines seen before",
    ),
    Rule(
        "max_repeated_paragraphs",
        "repetition",
        lambda text: _repeated(text.paragraphs),
        "of the paragraphs seen before",
    ),
    Rule(
        "max_repeated_paragraph_characters",
        "repetition",
        lambda text: _repeated_characters(text.paragraphs),
        f"{_CHARACTERS} paragraphs seen before",
    ),
    Rule("min_alphabetic", "few_letters", _alphabetic, "of the words have a letter", _all_alphabetic),
    Rule("min_mean_word", "word_length", lambda text: text.mean_word, "characters a word"),
    Rule("max_mean_word", "word_length", lambda text: text.mean_word, "characters a word"),
    Rule("max_word", "long_word", lambda text: text.longest, "characters in one word"),
    Rule("max_hashes", "symbols", lambda text: text.per_word(text.text.count("#")), "hashes a word"),
    Rule("max_ellipses", "symbols", lambda text: text.per_word(_ellipses(text.text)), "ellipses a word"),
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
    Rule("max_newlines", "newlines", lambda text: text.per_word(text.text.count("\n")), "line breaks a word"),
]
"""In the order in which they are looked at."""
