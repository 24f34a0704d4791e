"""Symbol fonts of Word files, whose private-use codes (U+F020 to U+F0FF) depend on the font."""

_SYMBOL = dict(
    enumerate(
        " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼",
        0x20,
    )
) | dict(
    enumerate(
        "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪ 〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭",
        0xA0,
    )
)
"""Adobe's encoding of the Symbol font."""
_WINGDINGS = dict(
    zip(
        b"\x4a\x4c\x6c\x6e\x6f\x71\x73\x75\x76\x9f\xa1\xa7\xa8\xd8\xdf\xe0\xe1\xe2\xe8\xf0\xfb\xfc\xfd\xfe",
        "☺☹●■□❑◆◆❖•○▪☐➢←→↑↓➔⇨✗✓☒☑",
        strict=True,
    )
)
_FONTS = {"Symbol": _SYMBOL, "Wingdings": _WINGDINGS}
_FIRST, _LAST = 0xF000, 0xF0FF


def readable(text: str, font: str | None) -> str:
    """Return `text` with symbol codes mapped to Unicode; a symbol without an equivalent becomes a space."""
    if not any(_FIRST <= ord(character) <= _LAST for character in text):
        return text
    known = _FONTS.get(font or "", {})
    return "".join(known.get(ord(each) - _FIRST, " ") if _FIRST <= ord(each) <= _LAST else each for each in text)


def character(code: str | None, font: str | None) -> str:
    """Return the character of a `w:sym` element with the given hexadecimal code."""
    try:
        number = int(code or "", 16)
    except ValueError:
        return " "
    if number <= 0xFF and font in _FONTS:
        number += _FIRST
    return readable(chr(number), font) if 0x20 <= number < 0xD800 or 0xE000 <= number <= 0x10FFFF else " "
