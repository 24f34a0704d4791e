"""Bytes to text: the byte order mark, then the bytes themselves, then what is declared, then statistics.

1. A byte order mark decides.
2. Valid UTF-8 outside ASCII is UTF-8 whatever a header says: text of another encoding is almost never valid by
   accident. So is text with at least two thirds of its bytes outside ASCII in valid sequences (`UTF8_SHARE`): a bad
   byte costs its own character, not the encoding of the others. ASCII with ISO-2022 escape sequences is ISO-2022.
3. Declared encodings are tried in the order given (HTTP before `<meta>`), their labels read as browsers read them
   (https://encoding.spec.whatwg.org), unless more than `BAD_SHARE` of what they make does not fit.
4. uchardet names an encoding, charset-normalizer where uchardet's does not fit.
"""

import codecs
import re
from collections.abc import Iterator, Sequence

import charset_normalizer
from resiliparse.parse.encoding import EncodingDetector, map_encoding_to_html5

from pipelines.data.documents import UnreadableError

UTF8_SHARE = 2 / 3
"""The most found in paragraphs of other encodings: 0.43 (Japanese EUC); 0.61 in 40 characters drawn at random."""
BAD_SHARE = 0.05
"""Of characters outside ASCII."""
CONTROL_SHARE = 0.02

_MARKS = (  # that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SUPERSETS = {  # Python's codecs by the standard's names, where the standard's are larger
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
_UNASKED = frozenset({"utf-8", "cp1252"})  # what servers declare whatever they serve
_ASCII = frozenset(map(chr, range(128)))
_FEW = 8  # different characters; less text than that can be valid UTF-8 by accident where another encoding is declared
_BEYOND = re.compile(r"(?:iso-?2022|hz|utf-?32|cp|ibm|windows-|mac)[\w-]*", re.IGNORECASE)
"""Labels that the standard lacks and a file may still bear."""
_ESCAPES = re.compile(rb"\x1b(?:\$[@B(]|\([IJ]|\$\)C)")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1f\x7f]")  # but white space and the escape sequences of terminals
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_HEAD = 4096  # bytes; the standard asks browsers for 1024
_META = re.compile(
    rb"""<meta\b[^>]*?\bcharset\s*=\s*["']?\s*([-\w:.]+)|<\?xml\b[^>]*?\bencoding\s*=\s*["']([-\w:.]+)""", re.IGNORECASE
)
_PARAMETER = re.compile(r"""\bcharset\s*=\s*["']?\s*([-\w:.]+)""", re.IGNORECASE)


def decode(data: bytes, declared: Sequence[str | None] = ()) -> str:
    """Return the text of `data`, without a byte order mark; bytes that fit nothing are U+FFFD.

    Raises:
        UnreadableError: no encoding fits, or there are more control characters than a text has.
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
    """Return the charset that `<meta>` or an XML declaration declares; read as ASCII, it can't be UTF-16 or UTF-32."""
    found = _META.search(_COMMENT.sub(b"", data[:_HEAD]))
    label = (found[1] or found[2]).decode("ascii", "replace") if found else ""
    return None if label.lower().startswith(("utf-16", "utf-32")) else label or None


def _fitting(data: bytes, declared: Sequence[str | None]) -> Iterator[str]:
    """Yield the text by each encoding that fits, the likeliest first."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            yield from _decoded(data, encoding)
    labels = [codec for label in declared if label and (codec := _codec(label))]
    wide = b"\0" in data  # UTF-16 and UTF-32, or not text
    if data.isascii() and not wide:
        yield from _seven_bit(data, labels)
    if not wide and _utf8_share(data) >= UTF8_SHARE:
        text = data.decode("utf-8", "lone_byte")
        if len(set(text) - _ASCII) < _FEW:
            yield from (other for codec in labels if codec not in _UNASKED for other in _decoded(data, codec))
        yield text
    for codec in (*labels, *([] if wide else [_detected(data)])):
        yield from _decoded(data, codec)
    yield from map(str, charset_normalizer.from_bytes(data))


def _seven_bit(data: bytes, labels: Sequence[str]) -> Iterator[str]:
    """Yield ASCII as text, before it what escape sequences make of it; HZ, which source code resembles, if declared."""
    detected = [_detected(data)] if _ESCAPES.search(data) else []
    for codec in (*labels, *detected):
        if codec.startswith("iso2022") or (codec == "hz" and codec in labels):
            yield from _decoded(data, codec)
    yield data.decode("ascii")


def _decoded(data: bytes, codec: str) -> Iterator[str]:
    """Yield the text, if little of it does not fit."""
    text = data.decode(codec, "replace")
    others = len(text) - len(text.encode("ascii", "ignore"))
    if text.count("\ufffd") <= BAD_SHARE * others:
        yield text


def _codec(label: str) -> str | None:
    """Return Python's codec for a label, None for one that is unknown."""
    name = map_encoding_to_html5(label.strip(), fallback_utf8=False)
    if name is None and _BEYOND.fullmatch(label):
        try:
            name = codecs.lookup(label).name
        except LookupError:
            return None
    return _SUPERSETS.get(name, name) if name else None


def _detected(data: bytes) -> str:
    detector = EncodingDetector()
    detector.update(data)
    name = detector.encoding(html5_compatible=False) or "utf-8"
    return "koi8-u" if name == "koi8-r" else _SUPERSETS.get(name, name)  # letters instead of eight box drawings


def _utf8_share(data: bytes) -> float:
    """Return the share of the bytes outside ASCII that lie in valid UTF-8 sequences."""
    ascii_bytes = len(data.decode("ascii", "ignore"))
    valid = len(data.decode("utf-8", "ignore").encode()) - ascii_bytes
    return valid / (len(data) - ascii_bytes) if len(data) > ascii_bytes else 0.0


def _lone_byte(error: UnicodeError) -> tuple[str, int]:
    """Replace a bad byte: one between ASCII, pasted from a one-byte encoding, by its character in Windows-1252."""
    assert isinstance(error, UnicodeDecodeError)
    around = error.object[max(error.start - 1, 0) : error.start] + error.object[error.end : error.end + 1]
    lone = error.end - error.start == 1 and around.isascii()
    return error.object[error.start : error.end].decode("cp1252", "replace") if lone else "\ufffd", error.end


codecs.register_error("lone_byte", _lone_byte)
