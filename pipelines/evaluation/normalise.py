"""Text as the tokens that scoring compares: what does not change an answer is taken away. Reads and writes nothing."""

import re
import unicodedata

_UNITS = "one two three four five six seven eight nine"
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBERS = {"zero": 0} | {word: value for value, word in enumerate(f"{_UNITS} {_TEENS}".split(), 1)}
TENS = {word: 10 * value for value, word in enumerate(_TENS.split(), 2)}
SYMBOLS = {"£": "pounds", "$": "dollars", "€": "euros"}

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_ARTICLE = re.compile(r"\b(?:the|The|THE|a|an|An)\b|(?:^|[.!?:]\s)A\b(?=\s)")  # not the A of "vitamin A"
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:([, ])\d{3})(?:\1\d{3})*(?!,?\d)")
_CURRENCY = re.compile(r"([£$€])\s?(\d[\d.,]*\d|\d)")
_TOKEN = re.compile(rf"\d+(?:\.\d+)+(?!\w)|[{CJK}]|[^\W_{CJK}]+")


def tokens(text: str) -> list[str]:
    """Return the tokens of `text`: NFKC, no case, no punctuation, no English articles, numbers as digits.

    Chinese, Japanese and Korean come out one character a token (as CMRC 2018 scores them), so that an answer
    is found where no space sets it off. Decimal points stay, thousands separators go: `2,314` is `2314`.
    """
    text = unicodedata.normalize("NFKC", text.replace("’", "'"))
    text = _CURRENCY.sub(lambda found: f"{found[2]} {SYMBOLS[found[1]]}", text)
    text = _THOUSANDS.sub(lambda found: re.sub(r"[, ]", "", found[0]), text)
    kept = _TOKEN.findall(_ARTICLE.sub(" ", text).casefold()) or _TOKEN.findall(text.casefold())
    return _digits(kept)


def _digits(words: list[str]) -> list[str]:
    """Write number words up to ninety-nine as digits."""
    written: list[str] = []
    for index, word in enumerate(words):
        units = NUMBERS.get(word, 0)
        if 0 < units < 10 and index > 0 and words[index - 1] in TENS:
            written[-1] = str(TENS[words[index - 1]] + units)
        else:
            written.append(str((NUMBERS | TENS).get(word, word)))
    return written


def spans(words: list[str], variant: list[str]) -> list[tuple[int, int]]:
    """Return where `variant` stands in `words`, as [start, end) of tokens."""
    size = len(variant)
    return [(at, at + size) for at in range(len(words) - size + 1) if words[at : at + size] == variant] if size else []
