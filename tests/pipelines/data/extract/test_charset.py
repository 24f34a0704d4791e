"""Charset detection: declared and undeclared encodings are decoded, and a bad byte affects only itself."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.documents import UnreadableError
from pipelines.data.extract import charset, plain
from pipelines.data.extract.web import html

LETTERS = {
    "windows-1251": "абвгдежзийклмнопрстуфхцчшщъыьэюяАБВГДЕЖ",
    "KOI8-R": "абвгдежзийклмнопрстуфхцчшщъыьэюяАБВГДЕЖ",
    "ISO-8859-7": "αβγδεζηθικλμνξοπρστυφχψωάέήίόύώ",
    "windows-1250": "ąćęłńóśźżčďěňřšťůž",
    "iso-8859-1": "äöüßéèàçñ",  # what servers declare unasked; with “” behind a letter it could be UTF-8
    "latin1": "äöüßéèàçñ",
    "windows-1254": "ğışöüçİ",
    "windows-1255": "אבגדהוזחטיכלמנסעפצקרשת",
    "windows-1256": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "tis-620": "กขคงจฉชซญดตถทนบปผพฟภมยรลวสหอ",
    "x-sjis": "羊歯の温室は一九三一年①ガス灯～",
    "EUC-JP": "羊歯の温室は一九三一年ガス灯",
    "ISO-2022-JP": "羊歯の温室は一九三一年ガス灯",
    "gb2312": "蕨类温室建于一九三一年囧镕",
    "GB18030": "蕨类温室建于一九三一年囧镕𠀀",
    "big5": "蕨類溫室建於一九三一年",
    "ks_c_5601-1987": "고사리온실은문을열었고이백종뷁",
    "iso-2022-kr": "고사리온실은문을열었고",
    "utf-8": "äбλ羊고🌿—",
}
CODECS = {
    "iso-8859-1": "cp1252", "latin1": "cp1252", "tis-620": "cp874", "x-sjis": "cp932", "gb2312": "gbk",
    "ks_c_5601-1987": "cp949",
}  # fmt: skip
MARKS = {"utf-8-sig": b"", "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE, "utf-32": b""}


@st.composite
def written(draw: st.DrawFn, spaces: str = " \n") -> tuple[str, str]:
    """Draw a charset label and words that its encoding can represent."""
    label = draw(st.sampled_from(sorted(LETTERS)))
    words = st.text(st.sampled_from(LETTERS[label]), min_size=1, max_size=12) | st.sampled_from(["1931", "fern", "a,"])
    text = "".join(f"{word}{draw(st.sampled_from(spaces))}" for word in draw(st.lists(words, min_size=1, max_size=40)))
    return label, text.strip()


def long(text: str) -> str:
    """Lengthen a text, because only short texts are valid UTF-8 by accident."""
    return "\n".join([text] * (1 + 200 // len(text)))


@given(written(), st.booleans())
def test_declared_encoding_is_used_in_text_and_html(case: tuple[str, str], by_header: bool) -> None:
    label, text = case[0], long(case[1])
    data = text.encode(CODECS.get(label, label))
    assert plain.decode(data, label) == text
    meta = "" if by_header else f'<meta http-equiv="Content-Type" content="text/html; charset={label}">'
    page = f"<html><head>{meta}<title>x</title></head><body><main><p>".encode() + data + b"</p></main></body></html>"
    assert html.read(page, 0, label if by_header else None).text.split() == text.split()


@given(written(), st.sampled_from(sorted(MARKS)), st.sampled_from([None, "koi8-r", "utf-8", "utf-16be", "no such"]))
def test_byte_order_mark_overrides_declaration(case: tuple[str, str], encoding: str, declared: str | None) -> None:
    assert charset.decode(MARKS[encoding] + case[1].encode(encoding), (declared,)) == case[1]


@given(st.data(), st.sampled_from([None, "utf-8", "iso-8859-1", "shift_jis", "unheard-of"]))
def test_bad_bytes_in_utf8_affect_only_themselves(data: st.DataObject, declared: str | None) -> None:
    text = data.draw(st.text(st.sampled_from("äбλ羊고—’ abc\n"), min_size=10, max_size=80)) + "äбλ羊고—’" * 3
    characters: list[bytes] = [each.encode() for each in text]
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(characters)))
        characters.insert(at, data.draw(st.sampled_from([b"\xe9", b"\xff", b"\xc3", b"\x80", b"\x93"])))
    kept = iter(charset.decode(b"".join(characters), (declared,)))
    assert all(character in kept for character in text), "every other character stands, in its place"


def test_lone_byte_between_ascii_is_windows_1252() -> None:
    assert charset.decode(b"The caf\xe9 sells tea " + "— and ‘cake’.".encode()) == "The café sells tea — and ‘cake’."
    assert charset.decode("羊歯".encode() + b"\xe9" + "の温室".encode()) == "羊歯\ufffdの温室"


@pytest.mark.parametrize("declared", [None, "utf-8", "iso-2022-jp", "unheard-of", "hex", "unicode_escape"])
def test_wrong_declaration_falls_back_to_detection(declared: str | None) -> None:
    text = "Оранжерея была открыта в 1931 году, и в ней растут двести видов. Зимой сторож спит у котла."
    assert charset.decode(text.encode("koi8-r"), (declared,)) == text


def test_iso_2022_is_detected_and_terminal_escapes_are_not() -> None:
    assert charset.decode("羊歯の温室".encode("iso2022_jp")) == "羊歯の温室"
    log = "\x1b[31merror\x1b[0m \x1b(B in ~{x~}"
    assert charset.decode(log.encode() * 20) == log * 20


def test_binary_data_is_unreadable() -> None:
    for data in (bytes(range(1, 256)) * 20, b"\x1f\x8b" + bytes(range(1, 32)) * 9):
        with pytest.raises(UnreadableError):
            charset.decode(data)
