"""Which numbers are what they look like: by checksums, and by what has been given out."""

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
    """Tell a payment card: a known issuer's prefix and length, and Luhn's checksum (ISO/IEC 7812-1)."""
    digits = re.sub(r"\D", "", number)
    if not _CARDS.fullmatch(digits):
        return False
    doubled = (sum(divmod(2 * int(each), 10)) for each in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def is_iban(number: str) -> bool:
    """Tell an account: 15 to 34 characters whose checksum modulo 97 is 1 (ISO 13616)."""
    compact = number.replace(" ", "")
    return 15 <= len(compact) <= 34 and int("".join(str(int(each, 36)) for each in compact[4:] + compact[:4])) % 97 == 1


def is_public_ip(address: str) -> bool:
    """Tell an address of the public internet; a private one, and 1.2.3.4 of a numbered section, are nobody's."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_global and (parsed.version == 6 or max(parsed.packed) > 31)


def is_national_id(number: str) -> bool:
    """Tell a person's number: of the United States, the United Kingdom, China or Spain."""
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
    """GB 11643: the date of birth, and a checksum modulo 11."""
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number, _CHINESE_WEIGHTS, strict=False))
    return 1900 <= born.year <= 2100 and number[17] == "10X98765432"[total % 11]


def _is_spanish(number: str) -> bool:
    """The letter is that of the number modulo 23; X, Y and Z before it stand for 0, 1 and 2."""
    digits = number[:-1].translate(str.maketrans("XYZ", "012"))
    return len(digits) == 8 and _SPANISH_LETTERS[int(digits) % 23] == number[-1]
