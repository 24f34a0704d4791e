"""Character encoding detection: byte order mark, then byte validity, then the declared charset, then statistics.

1. A byte order mark takes precedence.
2. Text with non-ASCII characters that is valid UTF-8 is UTF-8 regardless of headers, since other encodings are almost
   never valid UTF-8 by accident. Text with at least two thirds of its non-ASCII bytes in valid sequences
   (`UTF8_SHARE`) is UTF-8 too, so a bad byte affects only its own character. ASCII with ISO-2022 escape sequences is
   ISO-2022.
3. Declared encodings are tried in the given order (HTTP before `<meta>`), with labels mapped as in browsers
   (https://encoding.spec.whatwg.org), unless more than `BAD_SHARE` of the decoded characters are invalid.
4. uchardet detects an encoding; charset-normalizer is the fallback if that does not fit.
"""

import codecs
import re
from collections.abc import Iterator, Sequence

import charset_normalizer
from resiliparse.parse.encoding import EncodingDetector, map_encoding_to_html5

from pipelines.data.documents import UnreadableError

UTF8_SHARE = 2 / 3
"""Measured maximum for other encodings: 0.43 in paragraphs (Japanese EUC); 0.61 in 40 randomly drawn characters."""
BAD_SHARE = 0.05
"""Maximum share of invalid characters among the non-ASCII ones."""
CONTROL_SHARE = 0.02
"""Maximum share of control characters in a text."""

_MARKS = (  # UTF-32 before UTF-16, because its mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SUPERSETS = {  # Python codecs for labels that the WHATWG standard maps to a larger encoding
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "iso2022_jp": "iso2022_jp_ext",
}
_DEFAULT_CHARSETS = frozenset({"utf-8", "cp1252"})  # declared by servers by default, regardless of content
_ASCII = frozenset(map(chr, range(128)))
_MIN_DISTINCT = (
    8  # distinct non-ASCII characters; with fewer, text in a declared encoding can be valid UTF-8 by accident
)
_NONSTANDARD_LABEL = re.compile(r"(?:iso-?2022|hz|utf-?32|cp|ibm|windows-|mac)[\w-]*", re.IGNORECASE)
"""Labels that the WHATWG standard lacks but files use."""
_ESCAPES = re.compile(rb"\x1b(?:\$[@B(]|\([IJ]|\$\)C)")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1f\x7f]")  # excludes white space and terminal escape sequences
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_HEAD = 4096  # bytes searched for a declaration; the standard requires 1024
_META = re.compile(
    rb"""<meta\b[^>]*?\bcharset\s*=\s*["']?\s*([-\w:.]+)|<\?xml\b[^>]*?\bencoding\s*=\s*["']([-\w:.]+)""", re.IGNORECASE
)
_PARAMETER = re.compile(r"""\bcharset\s*=\s*["']?\s*([-\w:.]+)""", re.IGNORECASE)


def decode(data: bytes, declared: Sequence[str | None] = ()) -> str:
    """Return the text of `data` without a byte order mark; invalid bytes become U+FFFD.

    Raises:
        UnreadableError: no encoding fits, or the share of control characters exceeds `CONTROL_SHARE`.
    """
    text = next(_fitting(data, declared), None)
    if text is None:
        raise UnreadableError("unknown encoding")
    if len(_CONTROLS.findall(text)) > CONTROL_SHARE * len(text):
        raise UnreadableError("not text")
    return text.lstrip("\ufeff")


def of_content_type(value: str) -> str | None:
    """Return the charset that a Content-Type header declares."""
    found = _PARAMETER.search(value)
    return found[1] if found else None


def of_html(data: bytes) -> str | None:
    """Return the charset that `<meta>` or an XML declaration declares; it is read as ASCII, so not UTF-16 or UTF-32."""
    found = _META.search(_COMMENT.sub(b"", data[:_HEAD]))
    label = (found[1] or found[2]).decode("ascii", "replace") if found else ""
    return None if label.lower().startswith(("utf-16", "utf-32")) else label or None


def _fitting(data: bytes, declared: Sequence[str | None]) -> Iterator[str]:
    """Yield the text decoded by each encoding that fits, most likely first."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            yield from _decoded(data, encoding)
    labels = [codec for label in declared if label and (codec := _codec(label))]
    wide = b"\0" in data  # UTF-16 and UTF-32, or not text
    if data.isascii() and not wide:
        yield from _seven_bit(data, labels)
    if not wide and _utf8_share(data) >= UTF8_SHARE:
        text = data.decode("utf-8", "lone_byte")
        if len(set(text) - _ASCII) < _MIN_DISTINCT:
            yield from (other for codec in labels if codec not in _DEFAULT_CHARSETS for other in _decoded(data, codec))
        yield text
    for codec in (*labels, *([] if wide else [_detected(data)])):
        yield from _decoded(data, codec)
    yield from map(str, charset_normalizer.from_bytes(data))


def _seven_bit(data: bytes, labels: Sequence[str]) -> Iterator[str]:
    """Yield ISO-2022 decodings of ASCII data, then ASCII; HZ only if declared, because source code resembles it."""
    detected = [_detected(data)] if _ESCAPES.search(data) else []
    for codec in (*labels, *detected):
        if codec.startswith("iso2022") or (codec == "hz" and codec in labels):
            yield from _decoded(data, codec)
    yield data.decode("ascii")


def _decoded(data: bytes, codec: str) -> Iterator[str]:
    """Yield the decoded text if at most `BAD_SHARE` of its non-ASCII characters are invalid."""
    text = data.decode(codec, "replace")
    non_ascii = len(text) - len(text.encode("ascii", "ignore"))
    if text.count("\ufffd") <= BAD_SHARE * non_ascii:
        yield text


def _codec(label: str) -> str | None:
    """Return the Python codec for a label, or None if it is unknown."""
    name = map_encoding_to_html5(label.strip(), fallback_utf8=False)
    if name is None and _NONSTANDARD_LABEL.fullmatch(label):
        try:
            name = codecs.lookup(label).name
        except LookupError:
            return None
    return _SUPERSETS.get(name, name) if name else None


def _detected(data: bytes) -> str:
    detector = EncodingDetector()
    detector.update(data)
    name = detector.encoding(html5_compatible=False) or "utf-8"
    return (
        "koi8-u" if name == "koi8-r" else _SUPERSETS.get(name, name)
    )  # KOI8-U replaces eight box-drawing characters by letters


def _utf8_share(data: bytes) -> float:
    """Return the share of non-ASCII bytes in valid UTF-8 sequences."""
    ascii_bytes = len(data.decode("ascii", "ignore"))
    valid = len(data.decode("utf-8", "ignore").encode()) - ascii_bytes
    return valid / (len(data) - ascii_bytes) if len(data) > ascii_bytes else 0.0


def _lone_byte(error: UnicodeError) -> tuple[str, int]:
    """Replace a bad byte: by its Windows-1252 character if it is single and between ASCII, else by U+FFFD."""
    assert isinstance(error, UnicodeDecodeError)
    around = error.object[max(error.start - 1, 0) : error.start] + error.object[error.end : error.end + 1]
    lone = error.end - error.start == 1 and around.isascii()
    return error.object[error.start : error.end].decode("cp1252", "replace") if lone else "\ufffd", error.end


codecs.register_error("lone_byte", _lone_byte)
