"""What an answer says, read once: its tokens, which of them are names, and what of it counts as its content."""

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
        captain reverend saint st s perhaps maybe probably possibly likely but however because since""",
    )
)
"""Words by which an answer is introduced, and titles: they name no candidate."""
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_BEGINS = re.compile(r"(?:^|[.!?:。！？])\W*$")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)*(?:st|nd|rd|th)?")
_STEM = 5  # letters of a word by which its forms are held equal (truncation stemming)


@dataclass(frozen=True)
class Statement:
    """An answer as it is judged."""

    marked: tuple[str, ...]
    words: tuple[str, ...]
    capitals: frozenset[str]
    """Tokens written with a capital."""
    names: frozenset[str]
    """Those of them that are not so because a sentence begins there."""


@lru_cache(maxsize=64)
def read(answer: str) -> Statement:
    """Return what `answer` says."""
    marked = tuple(marked_tokens(answer))
    words = tuple(token for token in marked if token not in MARKS)
    written = list(_WORD.finditer(answer))
    capitals = [word for word in written if word[0][0].isupper()]
    names = [word for word in capitals if not _BEGINS.search(answer[: word.start()]) or _goes_on(word, written)]
    return Statement(marked, words, _tokens(capitals), _tokens(names))


def _goes_on(word: re.Match[str], written: list[re.Match[str]]) -> bool:
    """Tell whether the word after this one has a capital, too, as in the name of a person."""
    following = written[written.index(word) + 1 :][:1]
    return bool(following) and following[0][0][0].isupper()


def _tokens(words: list[re.Match[str]]) -> frozenset[str]:
    return frozenset(tokens(" ".join(word[0] for word in words)))


def content_words(word: str) -> bool:
    """Tell whether a token says something of its own: no stop word, no frame, and no "one"."""
    return word not in STOP_WORDS and word not in _FRAME and word != "1"


def is_number(word: str) -> bool:
    """Tell whether a token is a number or an ordinal."""
    return _NUMBER.fullmatch(word) is not None


def is_ordinal(word: str) -> bool:
    """Tell whether a token is an ordinal: 21st."""
    return is_number(word) and word[-1].isalpha()


def stem(word: str) -> str:
    """Return what the forms of a word have in common; numbers have no forms."""
    return word[:_STEM] if word.isalpha() else word
