"""E-mail addresses and telephone numbers, masked.

A number must look like a telephone's or be called one: years, quantities, dates and catalogue numbers stay.
"""

import re

from pipelines.data.repair import Edit

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
)
_SHAPED = r"""
      (?:\+\(?|00)[1-9]\d{0,13}(?:[ \xa0./()-]{1,3}\d{1,12}){0,7}    # +44 (0)1632 960101
    | \(0\d{1,5}\)[ ]?\d{2,8}(?:[ \xa0/-]\d{2,8}){0,4}               # (01632) 960101
    | 0\d{1,5}[ \xa0/-]\d{2,8}(?:[ \xa0-]\d{2,8}){0,4}               # 01632 960101, 020-8123 4567
    | 0\d{9,10}                                                      # 01632960101
    | (?:1[-.])?[2-9]\d{2}([-.])[2-9]\d{2}\1\d{4}                    # 555-210-1234
    | \(\d{3}\)[ ]?\d{3}[-. ]\d{4}                                   # (555) 010-1234
    | 1[3-9]\d{9}                                                    # a Chinese mobile
"""
_PHONE = re.compile(rf"(?<![\w.,+/-])(?:{_SHAPED})(?!\w|[.,-]\d)", re.VERBOSE)
_CALLED = re.compile(
    r"((?:\b(?:tele)?phone|\btel|\bfax|电话|電話|手机|手機)(?:\.|\s+(?:number|no\.?|on|at|is|us))*\s*[:：]?\s*)"
    r"(\d{6,11}|\d{2,4}(?:[ \xa0-]\d{2,4}){1,4})(?![\d,.]*\d|\w)",
    re.IGNORECASE,
)
_FEWEST = 9  # digits of a number that nothing calls a telephone's
_MOST_ABROAD, _MOST_AT_HOME = 15, 12  # E.164; with the 0 of a national number
_FEWEST_CALLED = 6


def mask(text: str) -> tuple[str, list[Edit]]:
    """Put `[email]` and `[phone]` in the place of addresses and numbers."""
    found: dict[str, list[str]] = {"email": [], "phone": []}

    def email(match: re.Match[str]) -> str:
        found["email"].append(match[0])
        return "[email]"

    def shaped(match: re.Match[str]) -> str:
        number = _fitting(match[0])
        if _digits(number) < _FEWEST:
            return match[0]
        found["phone"].append(number)
        return "[phone]" + match[0][len(number) :]

    def called(match: re.Match[str]) -> str:
        if _digits(match[2]) < _FEWEST_CALLED:
            return match[0]
        found["phone"].append(match[2])
        return f"{match[1]}[phone]"

    text = _CALLED.sub(called, _PHONE.sub(shaped, _EMAIL.sub(email, text)))
    return text, [Edit(kind, len(values), f"[{kind}]") for kind, values in found.items() if values]


def _fitting(number: str) -> str:
    """Cut off groups of digits until a telephone number can be so long: those count something else."""
    most = _MOST_ABROAD if number.startswith(("+", "00")) else _MOST_AT_HOME
    while _digits(number) > most and (groups := re.fullmatch(r"(.*\d)\D+\d+\)?", number)):
        number = groups[1]
    return number


def _digits(text: str) -> int:
    return sum(character.isdigit() for character in text)
