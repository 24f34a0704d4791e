"""Word segmentation for any script; scripts without word separators (Chinese, Japanese, Thai, …) yield characters."""

import re
import unicodedata
from collections.abc import Iterable
from itertools import takewhile

_THAI_LAO, _BURMESE, _KHMER = "\u0e01-\u0eff", "\u1000-\u109f", "\u1780-\u17ff"
_KANA, _HAN = "\u3041-\u30ff", "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
UNSPACED = f"[{_THAI_LAO}{_BURMESE}{_KHMER}{_KANA}{_HAN}]"
_ONE = re.compile(UNSPACED)
_PUNCTUATION = (
    "\u3000-\u303f\uff00-\uff0f\uff1a-\uff20"  # Chinese and Japanese punctuation separates words, as spaces do
)
_EITHER = re.compile(f"{UNSPACED}|[{_PUNCTUATION}]")
_WORD = re.compile(f"{UNSPACED}|[^\\s{_PUNCTUATION}{UNSPACED[1:-1]}]+")


def words(text: str) -> list[str]:
    """Split into words; text in an unspaced script into characters."""
    return text.split() if text.isascii() or not _EITHER.search(text) else _WORD.findall(text)


def unspaced(text: str) -> int:
    """Count the characters of unspaced scripts."""
    return 0 if text.isascii() or not _ONE.search(text) else len(_ONE.findall(text))


def word_count(text: str) -> float:
    """Count words; a character of an unspaced script counts as half a word."""
    return len(words(text)) - unspaced(text) / 2


def normalise(text: str) -> str:
    """Normalise for comparison: NFKC, case folding, punctuation removed, single spaces."""
    if text.isascii():
        return b" ".join(text.encode().translate(_ASCII_WORDS_ONLY).split()).decode()
    return " ".join(words(unicodedata.normalize("NFKC", text).casefold().translate(_WORDS_ONLY)))


def common_prefix(first: Iterable[str], second: Iterable[str]) -> int:
    """Return the length of the common prefix of two word sequences."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


class _WordsOnly(dict[int, str]):
    """Lazily filled translation table: punctuation, separators, symbols and control characters become spaces."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = " " if unicodedata.category(character)[0] in "PZSC" else character
        return self[code]


_WORDS_ONLY = _WordsOnly()
_ASCII_WORDS_ONLY = "".join(chr(code).lower().translate(_WORDS_ONLY) for code in range(128)).encode().ljust(256)
