"""PII masking: e-mail and IP addresses, phone numbers, payment cards, IBANs and national ids.

A number must have a valid checksum, the format of its type, or a label in front of it ("phone"). Years, quantities,
dates, versions and catalogue numbers are therefore kept.
"""

import re
from collections.abc import Callable, Collection

from pipelines.data.clean.checksums import is_card, is_iban, is_national_id, is_public_ip
from pipelines.data.clean.normalize import Edit

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
)
_FORMATS = r"""
      (?:\+\(?|00)[1-9]\d{0,13}(?:[ \xa0./()-]{1,3}\d{1,12}){0,7}    # +44 (0)1632 960101
    | \(0\d{1,5}\)[ ]?\d{2,8}(?:[ \xa0/-]\d{2,8}){0,4}               # (01632) 960101
    | 0\d{1,5}[ \xa0/-]\d{2,8}(?:[ \xa0-]\d{2,8}){0,4}               # 01632 960101, 020-8123 4567
    | 0\d{9,10}                                                      # 01632960101
    | (?:1[-.])?[2-9]\d{2}([-.])[2-9]\d{2}\1\d{4}                    # 555-210-1234
    | \(\d{3}\)[ ]?\d{3}[-. ]\d{4}                                   # (555) 010-1234
    | 1[3-9]\d{9}                                                    # a Chinese mobile
"""
_DAY = r"\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)\d\d\b"  # 01-06-2024, which a time or a quantity may follow
_PHONE = re.compile(rf"(?<![\w.,+/-])(?!{_DAY})(?:{_FORMATS})(?!\w|[.,-]\d)", re.VERBOSE)
_PAIRS = re.compile(r"\d\d(?:[ \xa0-]\d\d)+")
_LABELS = ("phone", "tel", "fax", "电话", "電話", "手机", "手機")
_LABELLED = re.compile(
    r"((?:\b(?:tele)?phone|\btel|\bfax|电话|電話|手机|手機)(?:\.|\s+(?:number|no\.?|on|at|is|us))*\s*[:：]?\s*)"
    r"(\d{6,11}|\d{2,4}(?:[ \xa0-]\d{2,4}){1,4})(?![\d,.]*\d|\w)",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"\d\D{0,3}\d\D{0,3}\d\D{0,3}\d\D{0,3}\d")  # every phone number contains a match
_LONG_NUMBER = re.compile(r"(?:\d[ -]?){6}")  # every card, IBAN and national id contains a match
_CARD = re.compile(r"(?<![\w.,-])\d(?:[ -]?\d){12,18}(?![\w-]|[.,]\d)")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_ID = re.compile(
    r"""(?<![\w.-])(?:
      \d{3}-\d{2}-\d{4}                                # United States
    | [A-Z]{2}[ ]?\d{2}[ ]?\d{2}[ ]?\d{2}[ ]?[A-D]     # United Kingdom
    | \d{17}[\dXx]                                     # China
    | [XYZ]?\d{7,8}-?[A-Z]                             # Spain
    )(?![\w-])""",
    re.VERBOSE,
)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{1,4}(?::{1,2}[0-9A-Fa-f]{1,4}){2,7}(?![\w:])")
_MIN_DIGITS = 9  # digits of an unlabelled phone number, without the international prefix 00
_MAX_INTERNATIONAL, _MAX_NATIONAL = 15, 12  # digits: E.164, and a national number with its leading 0
_PAIRS_DIGITS = 10  # digits of a French number, the only one of two-digit groups; others are scores or hours
_MIN_LABELLED_DIGITS = 6
_MIN_COLONS = 2  # of an IPv6 address


def mask(text: str, rules: Collection[str]) -> tuple[str, list[Edit]]:
    """Replace the PII found by the named `rules` with `[email]`, `[phone]`, …."""
    edits = []
    absent = _absent(text)
    for kind, replace in _KINDS.items():
        if kind in rules and kind not in absent:
            text, found = replace(text)
            if found:
                edits.append(Edit(kind, len(found), f"[{kind}]"))
    return text, edits


def _absent(text: str) -> set[str]:
    """Return the PII types that cannot occur in a text; most texts have few or no digits, which is cheap to check."""
    absent = {"phone", "iban", "card", "national_id", "ip"}
    if _DIGIT.search(text):
        absent.discard("ip")
        if _NUMBER.search(text):
            absent.discard("phone")
            if _LONG_NUMBER.search(text):
                absent.clear()
    return absent


Masked = tuple[str, list[str]]


def _masked(text: str, kind: str, pattern: re.Pattern[str], is_valid: Callable[[str], bool]) -> Masked:
    found = []

    def substitute(match: re.Match[str]) -> str:
        if not is_valid(match[0]):
            return match[0]
        found.append(match[0])
        return f"[{kind}]"

    return pattern.sub(substitute, text), found


def _emails(text: str) -> Masked:
    return _masked(text, "email", _EMAIL, lambda _: True) if "@" in text else (text, [])


def _ibans(text: str) -> Masked:
    return _masked(text, "iban", _IBAN, is_iban)


def _cards(text: str) -> Masked:
    return _masked(text, "card", _CARD, is_card)


def _ids(text: str) -> Masked:
    return _masked(text, "national_id", _ID, is_national_id)


def _addresses(text: str) -> Masked:
    text, found = _masked(text, "ip", _IPV4, is_public_ip)
    if text.count(":") < _MIN_COLONS:
        return text, found
    text, more = _masked(text, "ip", _IPV6, is_public_ip)
    return text, found + more


def _phones(text: str) -> Masked:
    found = []

    def formatted(match: re.Match[str]) -> str:
        number = _truncated(match[0])
        if _digits(number.removeprefix("00")) < _MIN_DIGITS:
            return match[0]
        if _PAIRS.fullmatch(number) and _digits(number) != _PAIRS_DIGITS:
            return match[0]
        found.append(number)
        return "[phone]" + match[0][len(number) :]

    def labelled(match: re.Match[str]) -> str:
        if _digits(match[2]) < _MIN_LABELLED_DIGITS:
            return match[0]
        found.append(match[2])
        return f"{match[1]}[phone]"

    text = _PHONE.sub(formatted, text)
    return _LABELLED.sub(labelled, text) if any(map(text.lower().__contains__, _LABELS)) else text, found


_KINDS: dict[str, Callable[[str], Masked]] = {
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "national_id": _ids,
    "ip": _addresses,
    "phone": _phones,
}


def _truncated(number: str) -> str:
    """Remove trailing groups of digits until the number is short enough for a phone number."""
    most = _MAX_INTERNATIONAL if number.startswith(("+", "00")) else _MAX_NATIONAL
    while _digits(number) > most and (groups := re.fullmatch(r"(.*\d)\D+\d+\)?", number)):
        number = groups[1]
    return number


def _digits(text: str) -> int:
    return sum(character.isdigit() for character in text)
