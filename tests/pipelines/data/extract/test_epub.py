"""EPUB reader on readable, missing, broken and encrypted chapters."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.documents import Document, UnreadableError
from pipelines.data.extract.office import epub
from pipelines.data.extract.readers import Limits, Reject, extract
from tests.support.docx_files import zip_file

LIMIT = 10**6
KINDS = ("good", "missing", "garbage", "unlisted", "large")


def chapter(number: int) -> str:
    """Return a chapter of one sentence."""
    return f"<html><body><h1>Chapter {number}</h1><p>The keeper counts fern number {number}.</p></body></html>"


def book(kinds: list[str], others: dict[str, str | bytes] | None = None) -> bytes:
    """Return a book with a chapter of each kind."""
    items = "".join(
        f'<item id="c{at}" href="text/c%20{at}.xhtml"/>' for at, kind in enumerate(kinds) if kind != "unlisted"
    )
    spine = "".join(f'<itemref idref="c{at}"/>' for at in range(len(kinds)))
    package = (
        f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{spine}</spine></package>'
    )
    container = '<container><rootfiles><rootfile full-path="OEBPS/a.opf"/></rootfiles></container>'
    contents = {"garbage": b"\x82\xb7\0\x0e\xee", "large": b"<p>" + b"x" * LIMIT}
    chapters = {
        f"OEBPS/text/c {at}.xhtml": contents.get(kind, chapter(at).encode())
        for at, kind in enumerate(kinds)
        if kind not in ("missing", "unlisted")
    }
    return zip_file({"META-INF/container.xml": container, "OEBPS/a.opf": package, **chapters, **(others or {})})


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))
def test_chapters_are_read_in_order_or_recorded_as_unreadable(kinds: list[str]) -> None:
    good = [at for at, kind in enumerate(kinds) if kind == "good"]
    if not good:
        with pytest.raises(UnreadableError, match="no chapter can be read"):
            epub.read(book(kinds), LIMIT)
        return
    content = epub.read(book(kinds), LIMIT)
    assert content.headings == tuple(f"Chapter {at}" for at in good)
    assert [line for line in content.text.split("\n\n") if "fern" in line] == [
        f"The keeper counts fern number {at}." for at in good
    ]
    assert len(content.unreadable) == len(kinds) - len(good)


def test_missing_chapter_is_rejected_as_part(tmp_path: Path) -> None:
    (tmp_path / "a.epub").write_bytes(book(["good", "missing", "good"]))
    document, reject = extract(tmp_path / "a.epub", tmp_path, Limits(LIMIT, 10))
    assert isinstance(document, Document) and "number 2" in document.text
    assert reject == Reject("a.epub#OEBPS/text/c 1.xhtml", "missing", part=True)


def encryption(*names: str) -> dict[str, str | bytes]:
    """Return the declaration that the given parts are encrypted."""
    data = "".join(f'<e:EncryptedData><e:CipherReference URI="{name}"/></e:EncryptedData>' for name in names)
    return {"META-INF/encryption.xml": f'<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#">{data}</encryption>'}


def test_encrypted_book_is_rejected_and_obfuscated_fonts_are_ignored() -> None:
    assert "fern number 0" in epub.read(book(["good"], encryption("OEBPS/font.ttf")), LIMIT).text
    with pytest.raises(UnreadableError, match="encrypted"):
        epub.read(book(["good"], encryption("OEBPS/text/c%200.xhtml")), LIMIT)
    for licence in ("rights", "sinf"):
        with pytest.raises(UnreadableError, match="encrypted"):
            epub.read(book(["garbage"], {f"META-INF/{licence}.xml": "<x/>"}), LIMIT)
    assert "fern number 0" in epub.read(book(["good"], {"META-INF/encryption.xml": "torn"}), LIMIT).text


def test_notes_and_boxed_texts_of_a_chapter_are_kept() -> None:
    text = (
        "<html xmlns:epub='http://www.idpf.org/2007/ops'><body><p>It took two days to cool."
        "<a epub:type='noteref' href='#f1'>*</a> Then it was drawn.</p>"
        "<aside epub:type='footnote' id='f1'><p>In 1911 it had taken three days.</p></aside>"
        "<aside><p>The kiln master earned nine shillings a week.</p></aside></body></html>"
    )
    content = epub.read(book(["good"], {"OEBPS/text/c 0.xhtml": text}), LIMIT)
    assert content.text.split("\n\n") == [
        "It took two days to cool. Then it was drawn.",
        "In 1911 it had taken three days.",
        "The kiln master earned nine shillings a week.",
    ]
