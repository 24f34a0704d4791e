"""Validation of PII candidates by checksum and by allocated number ranges."""

import ipaddress
import re
from datetime import date

_CARDS = re.compile(
    r"4(\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3(0[0-5]|[68]\d)\d{11}|6(011|5\d\d)\d{12}|62\d{14,17}|35\d{14}"
)
_CHINESE_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_SPANISH_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_NOT_BRITISH = frozenset({"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"})


def is_card(number: str) -> bool:
    """Return whether a number is a payment card: issuer prefix, length and Luhn checksum (ISO/IEC 7812-1)."""
    digits = re.sub(r"\D", "", number)
    if not _CARDS.fullmatch(digits):
        return False
    doubled = (sum(divmod(2 * int(each), 10)) for each in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def is_iban(number: str) -> bool:
    """Return whether a number is an IBAN: 15 to 34 characters whose checksum modulo 97 is 1 (ISO 13616)."""
    compact = number.replace(" ", "")
    return 15 <= len(compact) <= 34 and int("".join(str(int(each, 36)) for each in compact[4:] + compact[:4])) % 97 == 1


def is_public_ip(address: str) -> bool:
    """Return whether an IP address is public; private addresses and section numbers such as 1.2.3.4 are not PII."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_global and (parsed.version == 6 or max(parsed.packed) > 31)


def is_national_id(number: str) -> bool:
    """Return whether a number is a national id of the United States, the United Kingdom, China or Spain."""
    compact = re.sub(r"[ -]", "", number).upper()
    if re.fullmatch(r"\d{9}", compact):
        return (
            "-" in number
            and compact[:3] not in ("000", "666")
            and compact < "900"
            and compact[3:5] != "00"
            and compact[5:] != "0000"
        )
    if re.fullmatch(r"[A-Z]{2}\d{6}[A-D]", compact):
        return not re.match("[DFIQUV]|.[DFIOQUV]", compact) and compact[:2] not in _NOT_BRITISH
    if re.fullmatch(r"\d{17}[\dX]", compact):
        return _is_chinese(compact)
    return _is_spanish(compact)


def _is_chinese(number: str) -> bool:
    """Return whether an id has a valid date of birth and checksum modulo 11 (GB 11643)."""
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number, _CHINESE_WEIGHTS, strict=False))
    return 1900 <= born.year <= 2100 and number[17] == "10X98765432"[total % 11]


def _is_spanish(number: str) -> bool:
    """Return whether the letter matches the number modulo 23; the prefixes X, Y and Z count as 0, 1 and 2."""
    digits = number[:-1].translate(str.maketrans("XYZ", "012"))
    return len(digits) == 8 and _SPANISH_LETTERS[int(digits) % 23] == number[-1]
