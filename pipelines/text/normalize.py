"""Text as the tokens that scoring compares: what does not change an answer is taken away. Reads and writes nothing."""

import re
import unicodedata

from pipelines.text.date_forms import dates
from pipelines.text.quantities import FULL, amounts, whole_fractions

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
MARKS = frozenset(".,;:!?。、\n")
"""The punctuation that `marked_tokens` keeps, in the form that NFKC gives it."""
_ARTICLE = re.compile(r"\b(?:the|The|THE|a|an|An)\b|(?:^|[.!?:]\s)A\b(?=\s)")  # not the A of "vitamin A"
_IRREGULAR = {"ca": "can", "wo": "will", "sha": "shall"}
_NOT = re.compile(
    r"\b(?:(ca|wo|sha)n't|(\w+)n't|(can)not|(are|could|did|does|do|had|has|is|should|was|were|would)nt)\b"
)
_TOKEN = re.compile(rf"(?<!\w)-\d+(?:\.\d+)*(?!\w)|\d+(?:\.\d+)+(?!\w)|[{CJK}]|[^\W_{CJK}]+|[{''.join(sorted(MARKS))}]")
_WHOLE = re.compile(r"-?\d+\.0+")


def tokens(text: str) -> list[str]:
    """Return the tokens of `text`: NFKC, no case, no punctuation, no English articles, quantities in one form.

    Chinese, Japanese and Korean come out one character a token (as CMRC 2018 scores them), so that an answer
    is found where no space sets it off. Decimal points stay, thousands separators go: `2,314` is `2314`.
    `£7` is `7 pounds`, `5 km` is `5 kilometres`, `21st` is `twenty-first`, and `isn't` is `is not`.
    """
    return [token for token in marked_tokens(text) if token not in MARKS]


def marked_tokens(text: str) -> list[str]:
    """Return the tokens of `text` and, between them, the punctuation that ends clauses."""
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
    """Return where `variant` stands in `words`, as [start, end) of tokens."""
    size = len(variant)
    return [(at, at + size) for at in range(len(words) - size + 1) if words[at : at + size] == variant] if size else []
