"""English number words to digits: `two hundred and six` is 206, `seventeen oh nine` 1709, `twenty-first` 21st."""

import re
from decimal import Decimal


def _words(text: str) -> list[str]:
    return text.split()


_ONES = _words("one two three four five six seven eight nine")
_TEENS = _words("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
_TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINAL_ONES = _words("first second third fourth fifth sixth seventh eighth ninth")
_ORDINAL_TEENS = [*_words("tenth eleventh twelfth"), *(f"{word}th" for word in _TEENS[3:])]
_ORDINAL_TENS = [f"{word[:-1]}ieth" for word in _TENS]
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_VALUES = {
    "zero": 0,
    **dict(zip(_ONES + _TEENS, range(1, 20), strict=True)),
    **dict(zip(_TENS, range(20, 100, 10), strict=True)),
    **dict(zip(_ORDINAL_ONES + _ORDINAL_TEENS, range(1, 20), strict=True)),
    **dict(zip(_ORDINAL_TENS, range(20, 100, 10), strict=True)),
}


def _either(words: list[str]) -> str:
    return f"(?:{'|'.join(words)})"


_GAP = r"(?:\s+|\s?[-\u2010-\u2013]\s?)"
_BELOW_100 = rf"(?:{_either(_TENS)}(?:{_GAP}{_either(_ONES)}\b)?|{_either(_TEENS)}|{_either(_ONES)}|zero)"
_HUNDRED = rf"(?:(?:an?|{_BELOW_100}){_GAP})?hundred"
_BELOW_10000 = rf"(?:{_HUNDRED}(?:{_GAP}(?:and\s+)?{_BELOW_100}\b)?|{_BELOW_100})"
_SCALED = rf"(?:(?:{_BELOW_10000}|an?|(?<![\w.])\d+(?:\.\d+)?){_GAP})?{_either([*_SCALES])}"
_NUMBER = rf"(?:{_SCALED}(?:{_GAP}(?:and\s+)?{_SCALED})*(?:{_GAP}(?:and\s+)?{_BELOW_10000}\b)?|{_BELOW_10000})"
_DECIMALS = rf"(?:\s+point(?:{_GAP}(?:{_either(_ONES)}|zero|oh)\b)+)?"
_CENTURY = _either([*_TEENS, "twenty"])
_YEAR = rf"{_CENTURY}{_GAP}(?:oh{_GAP}{_either(_ONES)}|{_either(_TENS)}(?:{_GAP}{_either(_ONES)}\b)?|{_either(_TEENS)})"
_ORDINAL = (
    rf"(?:{_HUNDRED}{_GAP}(?:and\s+)?)?"
    rf"(?:{_either(_TENS)}{_GAP}{_either(_ORDINAL_ONES)}|{_either(_ORDINAL_ONES + _ORDINAL_TEENS + _ORDINAL_TENS)})"
    rf"|{_HUNDRED}th"
)
# Rejects most words before the alternatives are tried, which halves the time of `normalize.tokens`.
_STARTS = _either(sorted({word[:3] for word in [*_VALUES, *_SCALES, "hundred"]}))
_WORDS = re.compile(
    rf"\b(?={_STARTS}|an?\b|\d)(?:(?P<ordinal>{_ORDINAL})|(?P<year>{_YEAR})|(?P<number>{_NUMBER}{_DECIMALS}))\b",
    re.ASCII | re.IGNORECASE,
)
_PIECE = re.compile(r"\d+(?:\.\d+)?|[a-z]+")


def in_digits(text: str) -> str:
    """Replace the number words in `text` by digits; `5 million` becomes 5000000."""
    return _WORDS.sub(_written, text)


def _written(found: re.Match[str]) -> str:
    words = _PIECE.findall(found[0].casefold())
    if found["year"]:
        return str(100 * _VALUES[words[0]] + sum(_VALUES[word] for word in words[1:] if word != "oh"))
    if found["ordinal"]:
        return with_suffix(int(_value([word.replace("hundredth", "hundred") for word in words])))
    if "point" in words:
        point = words.index("point")
        decimals = "".join("0" if word == "oh" else str(_VALUES[word]) for word in words[point + 1 :])
        return f"{_value(words[:point])}.{decimals}"
    return _value(words)


def _value(words: list[str]) -> str:
    """Evaluate number words: each scale multiplies the words between the previous scale and itself."""
    total, part = Decimal(0), Decimal(0)
    for word in words:
        if word == "hundred":
            part = max(part, Decimal(1)) * 100
        elif word in _SCALES:
            total, part = total + (part or 1) * _SCALES[word], Decimal(0)
        elif word in _VALUES:
            part += _VALUES[word]
        elif word[0].isdigit():
            part = Decimal(word)
    written = f"{total + part:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def with_suffix(number: int) -> str:
    """Format an ordinal: 21st, 112th."""
    last = 0 if number % 100 in (11, 12, 13) else number % 10
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"
