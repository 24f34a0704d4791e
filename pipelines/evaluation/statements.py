"""Parse an answer once: its tokens, which of them are names, and which are content words."""

import re
from dataclasses import dataclass
from functools import lru_cache

from pipelines.text.normalize import MARKS, marked_tokens, tokens
from pipelines.text.stopwords import STOP_WORDS

_FRAME = frozenset(
    re.findall(
        r"\w+",
        """answer answered called named name known think thought believe believed suppose guess say says said told yes
        no certainly surely definitely indeed well actually really simply just only also course sure mr mrs ms dr sir
        captain reverend saint st s perhaps maybe probably possibly likely but however because since ad ce""",
    )
)
"""Words that introduce an answer, titles and eras; they name no candidate."""
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_BEGINS = re.compile(r"(?:^|[.!?:。！？])\W*$")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)*(?:st|nd|rd|th)?")
_STEM = 5  # letters kept by truncation stemming


@dataclass(frozen=True)
class Statement:
    """A parsed answer."""

    marked: tuple[str, ...]
    words: tuple[str, ...]
    capitals: frozenset[str]
    """Capitalized tokens."""
    names: frozenset[str]
    """Capitalized tokens, except those capitalized only because a sentence begins there."""


@lru_cache(maxsize=64)
def parse(answer: str) -> Statement:
    """Return `answer` as a statement."""
    marked = tuple(marked_tokens(answer))
    words = tuple(token for token in marked if token not in MARKS)
    written = list(_WORD.finditer(answer))
    capitals = [word for word in written if word[0][0].isupper()]
    names = [word for word in capitals if not _BEGINS.search(answer[: word.start()]) or _next_is_capital(word, written)]
    return Statement(marked, words, _tokens(capitals), _tokens(names))


def _next_is_capital(word: re.Match[str], written: list[re.Match[str]]) -> bool:
    """Return whether the next word is capitalized too, as in the name of a person."""
    following = written[written.index(word) + 1 :][:1]
    return bool(following) and following[0][0][0].isupper()


def _tokens(words: list[re.Match[str]]) -> frozenset[str]:
    return frozenset(tokens(" ".join(word[0] for word in words)))


def content_words(word: str) -> bool:
    """Return whether a token is a content word: no stop word, no introductory word, and not "one"."""
    return word not in STOP_WORDS and word not in _FRAME and word != "1"


def is_number(word: str) -> bool:
    """Return whether a token is a number or an ordinal."""
    return _NUMBER.fullmatch(word) is not None


def is_ordinal(word: str) -> bool:
    """Return whether a token is an ordinal, such as 21st."""
    return is_number(word) and word[-1].isalpha()


def content_stems(text: str) -> list[str]:
    """Return the stems of the normalized tokens of `text` that are no stop words.

    Chinese, Japanese and Korean yield one per character, so that no word segmentation is needed.
    """
    return [stem(token) for token in tokens(text) if token not in STOP_WORDS]


def stem(word: str) -> str:
    """Return the first five letters of a word (truncation stemming); numbers are unchanged."""
    return word[:_STEM] if word.isalpha() else word
