"""Word reader: each visible word is read once and in order; deleted and hidden words are not."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.documents import UnreadableError, UnreadablePart
from pipelines.data.extract.office import docx
from tests.support.docx_files import STRICT, docx_file, paragraph, part, run, zip_file

LIMIT = 10**6


def text_of(body: str, **others: str) -> str:
    """Return the text of a Word file with the given body and other parts, named without folder and suffix."""
    return docx.read(docx_file(body, {f"word/{name}.xml": content for name, content in others.items()}), LIMIT).text


def test_main_part_is_found_by_relationships() -> None:
    stale = {"word/document.xml": part("document", f"<w:body>{paragraph('Old.')}</w:body>")}
    assert docx.read(docx_file(paragraph("New."), stale, main="word/document2.xml"), LIMIT).text == "New."
    assert docx.read(zip_file(stale), LIMIT).text == "Old."


def test_strict_and_transitional_formats_are_read() -> None:
    heading = paragraph("Ferns", properties='<w:pStyle w:val="T1"/>')
    body = part("document", f"<w:body>{heading}{paragraph('Text.')}</w:body>", STRICT)
    style = '<w:style w:type="paragraph" w:styleId="T1"><w:name w:val="heading 1"/></w:style>'
    content = docx.read(zip_file({"word/document.xml": body, "word/styles.xml": part("styles", style, STRICT)}), LIMIT)
    assert (content.text, content.headings) == ("Ferns\n\nText.", ("Ferns",))


def test_title_is_the_property_else_the_style_title_else_the_first_heading() -> None:
    def styled(style: str, text: str) -> str:
        return paragraph(text, properties=f'<w:pStyle w:val="{style}"/>')

    names = {"T": "Title", "U": "heading 1"}
    style = '<w:style w:type="paragraph" w:styleId="{}"><w:name w:val="{}"/></w:style>'
    others = {"word/styles.xml": part("styles", "".join(style.format(*each) for each in names.items()))}
    heading, title = styled("U", "Present"), styled("T", "Minutes of May")
    assert docx.read(docx_file(heading + paragraph("Text."), others), LIMIT).title == "Present"
    assert docx.read(docx_file(heading + title, others), LIMIT).title == "Minutes of May"
    assert docx.read(docx_file(paragraph("Text."), others), LIMIT).title is None
    dublin_core = "http://purl.org/dc/elements/1.1/"
    others["docProps/core.xml"] = f'<p xmlns:dc="{dublin_core}"><dc:title>The guild</dc:title></p>'
    assert docx.read(docx_file(heading + title, others), LIMIT).title == "The guild"


def test_paragraph_text_matches_its_appearance() -> None:
    def character(kind: str) -> str:
        return f"<w:r><w:{kind}/></w:r>"

    assert text_of(paragraph("well", character("noBreakHyphen"), "known")) == "well-known"
    assert text_of(paragraph("green", character("softHyphen"), "house", character("tab"), "1931")) == "greenhouse 1931"
    symbol = '<w:r><w:sym w:font="{}" w:char="{}"/></w:r>'.format
    assert text_of(paragraph("angle ", symbol("Symbol", "F061"), symbol("Wingdings", "F0E0"))) == "angle α→"
    ruby = f"<w:r><w:ruby><w:rt>{run('かん')}</w:rt><w:rubyBase>{run('漢')}</w:rubyBase></w:ruby></w:r>"
    assert text_of(paragraph(ruby, "字")) == "漢字"


def test_field_yields_result_without_instruction() -> None:
    def mark(kind: str) -> str:
        return f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>'

    inner = mark("begin") + run("inner code") + mark("separate") + run("inner result") + mark("end")
    field = (mark("begin") + "<w:r><w:instrText>IF </w:instrText></w:r>" + inner, mark("separate") + run("page 7"))
    assert text_of(paragraph("See ", *field, mark("end"), ".")) == "See page 7."
    assert text_of(paragraph("See ", mark("begin"), "all the rest")) == "See all the rest"
    assert text_of(paragraph('<w:fldSimple w:instr="PAGE">' + run("12") + "</w:fldSimple>")) == "12"


def test_hidden_text_is_omitted_by_run_properties_and_styles() -> None:
    style = '<w:style w:type="{}" w:styleId="{}"><w:name w:val="{}"/>{}</w:style>'
    hide = "<w:rPr><w:vanish/></w:rPr>"
    styles = part(
        "styles",
        style.format("character", "C", "c", hide)
        + style.format("paragraph", "P", "p", '<w:basedOn w:val="Q"/>')
        + style.format("paragraph", "Q", "q", '<w:basedOn w:val="P"/>' + hide),
    )
    by_run = paragraph("Tea", run(" remark", "<w:vanish/>"), run(" is", '<w:vanish w:val="0"/>'))
    by_style = paragraph(run("remark", '<w:rStyle w:val="C"/>'), " sold.")
    whole = paragraph("remark", run("Shown.", '<w:vanish w:val="false"/>'), properties='<w:pStyle w:val="P"/>')
    assert text_of(by_run + by_style + whole, styles=styles) == "Tea is\n\nsold.\n\nShown."


def test_deleted_paragraph_mark_joins_paragraphs() -> None:
    gone = "<w:rPr><w:del w:id='1' w:author='x'/></w:rPr>"
    assert text_of(paragraph("One ", properties=gone) + paragraph("line.")) == "One line."
    assert text_of(paragraph("The last.", properties=gone)) == "The last."


def test_equations_use_linear_format() -> None:
    def m(tag: str, *inner: str) -> str:
        content = "".join(each if each.startswith("<") else f"<m:r><m:t>{each}</m:t></m:r>" for each in inner)
        return f"<m:{tag}>{content}</m:{tag}>"

    fraction = m("f", m("num", "a+b"), m("den", "2"))
    power = m("sSup", m("e", "x"), m("sup", "2"))
    total = m("nary", '<m:naryPr><m:chr m:val="∑"/></m:naryPr>', m("sub", "i=1"), m("sup", "n"), m("e", power))
    root = m("rad", m("deg"), m("e", "2x"))
    assert text_of(paragraph("So ", m("oMath", fraction, "=", power), ".")) == "So (a+b)/2=x^2."
    assert text_of(m("oMathPara", m("oMath", total, "=", root))) == "∑_(i=1)^n x^2=√2x"


def test_damaged_part_is_recorded_and_text_is_read() -> None:
    reference = '<w:r><w:footnoteReference w:id="2"/></w:r>'
    data = docx_file(paragraph("Text", reference, "."), {"word/footnotes.xml": "<torn", "docProps/core.xml": b"\xff"})
    content = docx.read(data, LIMIT)
    assert content.text == "Text."
    assert [each.name for each in content.unreadable] == ["docProps/core.xml", "word/footnotes.xml"]
    assert all(isinstance(each, UnreadablePart) and "not XML" in each.reason for each in content.unreadable)


def test_file_without_readable_main_part_is_unreadable() -> None:
    with pytest.raises(UnreadableError, match="encrypted"):
        docx.read(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", LIMIT)
    with pytest.raises(UnreadableError, match="missing"):
        docx.read(zip_file({"a": "b"}), LIMIT)


class Writer:
    """Draws a Word file with a unique word at each place, and its expected visible words."""

    def __init__(self, draw: Callable[..., int]) -> None:
        """Draw numbers from `draw(limit)`."""
        self.draw, self.words = draw, itertools.count()
        self.notes: list[str] = []
        self.after: list[str] = []

    def word(self, to: list[str]) -> str:
        """Return a new word and record whether it is visible."""
        to.append(f"w{next(self.words)}x")
        return to[-1]

    def inline(self, seen: list[str], depth: int) -> str:
        """Return a piece of a paragraph."""
        gone: list[str] = []
        kind = self.draw(14) if depth else 0
        if kind in (1, 2, 3, 4, 5):
            tag = ("ins", "moveTo", "hyperlink", "smartTag", "fldSimple")[kind - 1]
            return f"<w:{tag}>{self.inline(seen, depth - 1)}{self.inline(seen, depth - 1)}</w:{tag}>"
        if kind in (6, 7):
            tag = ("del", "moveFrom")[kind - 6]
            return f"<w:{tag}>{run(self.word(gone))}</w:{tag}>"
        if kind == 8:
            content = f"<w:sdtContent>{self.inline(seen, depth - 1)}</w:sdtContent>"
            return f"<w:sdt><w:sdtPr><w:alias w:val='no'/></w:sdtPr>{content}</w:sdt>"
        if kind == 9:
            return run(self.word(gone), "<w:vanish/>")
        if kind in (10, 11):
            return self.box(kind == 10)
        if kind == 12:
            return self.note()
        if kind == 13:
            return f"<m:oMath><m:r><m:t> {self.word(seen)} </m:t></m:r></m:oMath>"
        return run(f" {self.word(seen)} ")

    def box(self, twice: bool) -> str:
        """Return a text box, optionally with a fallback of the same content."""
        words: list[str] = []
        content = f"<w:txbxContent>{paragraph(run(self.word(words)))}</w:txbxContent>"
        self.after += words
        old = f"<w:pict><v:shape><v:textbox>{content}</v:textbox></v:shape></w:pict>"
        if not twice:
            return f"<w:r>{old}</w:r>"
        new = f"<w:drawing><wps:txbx>{content}</wps:txbx></w:drawing>"
        choice = f'<mc:Choice Requires="wps">{new}</mc:Choice><mc:Fallback>{old}</mc:Fallback>'
        return f"<w:r><mc:AlternateContent>{choice}</mc:AlternateContent></w:r>"

    def note(self) -> str:
        """Return a reference to a note."""
        self.notes.append(self.word(self.after))
        return f'<w:r><w:footnoteReference w:id="{len(self.notes)}"/></w:r>'

    def block(self, seen: list[str], depth: int, table: bool) -> str:
        """Return a paragraph, a table, or a content control or tracked change around blocks."""
        kind = self.draw(7) if depth else 0
        if kind == 1:
            content = self.rows(seen, depth - 1)
            text = f"<w:tbl><w:tblPr/><w:tblGrid/>{content}</w:tbl>"
        elif kind == 2:
            inner = self.block(seen, depth - 1, table) + self.block(seen, depth - 1, table)
            return f"<w:sdt><w:sdtPr/><w:sdtContent>{inner}</w:sdtContent></w:sdt>"
        else:
            text = paragraph(*(self.inline(seen, 2) for _ in range(1 + self.draw(3))))
        if not table:
            seen += self.after
            self.after.clear()
        return text

    def rows(self, seen: list[str], depth: int) -> str:
        """Return table rows, some deleted, with some rows and cells in content controls."""
        text = ""
        for _ in range(1 + self.draw(3)):
            cells = ""
            for _ in range(1 + self.draw(3)):
                cell = f"<w:tc><w:tcPr/>{self.block(seen, depth, table=True)}{paragraph()}</w:tc>"
                cells += f"<w:sdt><w:sdtContent>{cell}</w:sdtContent></w:sdt>" if self.draw(4) == 0 else cell
            text += f"<w:tr>{cells}</w:tr>"
        if self.draw(4) == 0:
            text += f"<w:tr><w:trPr><w:del/></w:trPr><w:tc>{paragraph(self.word([]))}</w:tc></w:tr>"
        return text


@given(st.data())
def test_each_visible_word_is_read_once_and_in_order(data: st.DataObject) -> None:
    writer = Writer(lambda limit: data.draw(st.integers(0, limit - 1)))
    seen: list[str] = []
    body = "".join(writer.block(seen, 3, table=False) for _ in range(data.draw(st.integers(1, 4))))
    notes = '<w:footnote w:type="separator" w:id="0"><w:p><w:r><w:t>no</w:t></w:r></w:p></w:footnote>' + "".join(
        f'<w:footnote w:id="{number}">{paragraph(word)}</w:footnote>' for number, word in enumerate(writer.notes, 1)
    )
    text = text_of(body, footnotes=part("footnotes", notes))
    assert text.replace("|", " ").split() == seen
