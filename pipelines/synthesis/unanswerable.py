"""Questions without an answer, so that a model learns what it does not know.

Three sources: hand-written ones far from any corpus; kept questions in which a name is swapped for one that the corpus
does not know; and kept questions asked of another name of the corpus, which need a reader's word that nothing is said.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

_NAME = re.compile(r"(?<![.?!]\s)(?<!^)\b[A-Z][a-z]+(?:\s(?:of\s(?:the\s)?)?[A-Z][a-z]+)*")
_CAPITALS = re.compile(r"\b[A-Z][\w'’-]+(?:\s[A-Z][\w'’-]+)*")
_WORD = re.compile(r"[^\W_]+")


def names(texts: Sequence[str]) -> Counter[str]:
    """Count the capitalised names inside sentences."""
    return Counter(match.group() for text in texts for match in _NAME.finditer(text))


def swap(question: str, pool: Sequence[str], rng: random.Random) -> str | None:
    """Replace the longest name in `question` by one of `pool` of as many words, or return None if there is none."""
    own = sorted(names([question]), key=lambda name: (-len(name), name))
    if not own:
        return None
    size = len(own[0].split())
    others = [name for name in pool if len(name.split()) == size and name not in question]
    return question.replace(own[0], rng.choice(others)) if others else None


def swap_made_up(question: str, strangers: Sequence[str], rng: random.Random) -> str | None:
    """Replace one name in `question` by one put together from words of `strangers`, or return None if there is none."""
    own = [found for found in _CAPITALS.finditer(question) if found.start() > 0]
    words = sorted({word for name in strangers for word in name.split() if word[0].isupper()})
    if not own or not words:
        return None
    name = rng.choice(own)
    made_up = " ".join(rng.choice(words) for _ in name.group().split()[:2])
    return question[: name.start()] + made_up + question[name.end() :]


class Retriever:
    """Finds the windows that share the rarest words with a question."""

    def __init__(self, windows: Sequence[str]) -> None:
        """Index `windows`."""
        self.windows = windows
        self.places: dict[str, list[int]] = defaultdict(list)
        for index, window in enumerate(windows):
            for word in _words(window):
                self.places[word].append(index)

    def find(self, question: str, most: int) -> list[str]:
        """Return up to `most` windows, the best first; each shared word counts 1 / (windows it is in)."""
        scores: dict[int, float] = defaultdict(float)
        for word in sorted(_words(question) & self.places.keys()):
            for index in self.places[word]:
                scores[index] += 1 / len(self.places[word])
        best = sorted(scores, key=lambda index: (-scores[index], index))[:most]
        return [self.windows[index] for index in best]


def _words(text: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(text)}
