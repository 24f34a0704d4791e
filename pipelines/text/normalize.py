"""Answer normalization: text as tokens for scoring, without differences that do not change an answer."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from pipelines.text.date_forms import dates
from pipelines.text.quantities import FULL, amounts, whole_fractions

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
MARKS = frozenset(".,;:!?。、\n")
"""The punctuation that `marked_tokens` keeps, after NFKC."""
_ARTICLE = re.compile(r"\b(?:the|The|THE|a|an|An)\b|(?:^|[.!?:]\s)A\b(?=\s)")  # but not the A in "vitamin A"
_IRREGULAR = {"ca": "can", "wo": "will", "sha": "shall"}
_NOT = re.compile(
    r"\b(?:(ca|wo|sha)n't|(\w+)n't|(can)not|(are|could|did|does|do|had|has|is|should|was|were|would)nt)\b"
)
_TOKEN = re.compile(rf"(?<!\w)-\d+(?:\.\d+)*(?!\w)|\d+(?:\.\d+)+(?!\w)|[{CJK}]|[^\W_{CJK}]+|[{''.join(sorted(MARKS))}]")
_WHOLE = re.compile(r"-?\d+\.0+")


def tokens(text: str) -> list[str]:
    """Return the tokens of `text` after NFKC, case folding, and removal of punctuation and English articles.

    Chinese, Japanese and Korean text yields one token per character (as in CMRC 2018), so that an answer is found
    without spaces around it. Decimal points are kept and thousands separators removed: `2,314` becomes `2314`.
    Quantities are canonical: `£7` is `7 pounds`, `5 km` is `5 kilometres`, `twenty-first` is `21st`, and `isn't` is
    `is not`.
    """
    return [token for token in marked_tokens(text) if token not in MARKS]


def marked_tokens(text: str) -> list[str]:
    """Return the tokens of `text`, including the punctuation that ends clauses."""
    text = unicodedata.normalize("NFKC", whole_fractions(text.replace("’", "'")))
    text = dates(amounts(text))
    kept = _found(_ARTICLE.sub(" ", text))
    return kept if any(token not in MARKS for token in kept) else _found(text)


def _found(text: str) -> list[str]:
    text = _NOT.sub(
        lambda found: f"{_IRREGULAR.get(found[1]) or found[2] or found[3] or found[4]} not", text.casefold()
    )
    return [_one_form(token) for token in _TOKEN.findall(text)]


def _one_form(token: str) -> str:
    return token.split(".")[0] if _WHOLE.fullmatch(token) else FULL.get(token, token)


def spans(words: list[str], variant: list[str]) -> list[tuple[int, int]]:
    """Return the positions of `variant` in `words`, as token ranges [start, end)."""
    size = len(variant)
    return [(at, at + size) for at in range(len(words) - size + 1) if words[at : at + size] == variant] if size else []


def padded(text: str) -> str:
    """Return the tokens of a text between spaces, so that one text contains another only at the edges of tokens."""
    return f" {' '.join(tokens(text))} "


def f1(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the token F1 of two token sequences: 2 |shared| / (|one| + |other|), 0 if nothing is shared."""
    shared = (Counter(one) & Counter(other)).total()
    return 2 * shared / (len(one) + len(other)) if shared else 0.0
