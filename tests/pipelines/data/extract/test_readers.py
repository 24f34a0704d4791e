"""Readers for HTML, Markdown, text and PDF on small files, and rejection of invalid files."""

import os
from pathlib import Path

import pytest

from pipelines.data.clean.normalize import normalize
from pipelines.data.documents import Content, Document, UnreadableError, identified
from pipelines.data.extract import markdown, plain
from pipelines.data.extract.pdf import pdf
from pipelines.data.extract.readers import Limits, Reject, extract, sources
from pipelines.data.extract.web import html
from tests.support.pdf_files import pdf_file

LIMITS = Limits(max_bytes=10**6, min_characters=100)
PAGE = """<html><head><title>Tide Mill | The Site</title>
<link rel="canonical" href="https://site.example/mill/"></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/contact">Contact</a></li></ul></nav>
<div class="cookie-notice"><p>We use cookies.</p><button>Accept</button></div>
<header><p>The Site</p></header>
<main><h1>The Tide  Mill</h1><p>The mill was built in <b>1731</b> by Emeric Vosper.</p>
<h2>Steps</h2><ul><li>Ring the bell.</li><li>Open the sluice.</li></ul>
<table><tr><td>Wheel</td><td>5.4 metres</td></tr></table></main>
<footer><p>All rights reserved.</p></footer><script>let x = 1;</script></body></html>"""


def test_html_yields_main_text_title_and_canonical_url() -> None:
    content = html.read(PAGE.encode(), enough=0)
    assert content.title == "The Tide Mill"
    assert content.url == "https://site.example/mill/"
    assert "The mill was built in 1731 by Emeric Vosper." in content.text
    assert "- Ring the bell.\n- Open the sluice." in content.text
    assert "Wheel | 5.4 metres" in content.text
    for noise in ("Home", "cookies", "Accept", "The Site", "rights", "let x"):
        assert noise not in content.text


def test_html_without_marked_content_uses_heuristics() -> None:
    body = "<p>" + "The harbour of Brunnick is dredged when silt closes the east berth. " * 8 + "</p>"
    page = f"<html><body><div class='nav'><a href='/'>Home</a></div><div id='content'>{body}</div></body></html>"
    assert "silt closes the east berth" in html.read(page.encode(), enough=100).text


@pytest.mark.parametrize(
    "block",
    [
        "<pre><code>{}</code></pre>",
        "<div class='highlight highlight-source-python'><pre><span></span>{}</pre></div>",
        "<pre class='language-python'>{}</pre>",
    ],
)
def test_html_code_is_fenced_and_verbatim(block: str) -> None:
    code = "def pane(year):\n\n    return  year\t# 1931\n•\t1. fern"
    page = f"<main><p>Panes are counted:</p>{block.format(code)}<p>Forty break.</p></main>"
    text = normalize(html.read(page.encode(), 0).text, wrapped=False, typed=False)[0]
    assert text == f"Panes are counted:\n\n```\n{code}\n```\n\nForty break."


@pytest.mark.parametrize("items", ["ul", "ol"])
def test_list_item_of_code_alone_keeps_code_and_prose_apart(items: str) -> None:
    item = f"<{items}><li><pre><code>only\n\tcode</code></pre></li></{items}>"
    page = f"<main>{item}<p>Prose  between two.</p><pre><code>zz</code></pre></main>"
    text = normalize(html.read(page.encode(), 0).text, wrapped=False, typed=False)[0]
    assert text == "```\nonly\n\tcode\n```\n\nProse between two.\n\n```\nzz\n```"


def test_line_breaks_of_html_code_are_kept_and_a_preformatted_letter_is_prose() -> None:
    page = "<main><pre><code>a = 1<br>b = 2</code></pre><pre>Dear  Marta,\nthe ferns arrived.</pre></main>"
    text = html.read(page.encode(), 0).text
    assert text.split() == ["```", "a", "=", "1", "b", "=", "2", "```", "Dear", "Marta,", "the", "ferns", "arrived."]
    assert "a = 1\nb = 2" in text


@pytest.mark.parametrize(
    "mark",
    [
        "<sup><a href='#n1'>1</a></sup>",
        "<sup class='reference'><a href='https://a.example/b#n1'>[1]</a></sup>",
        "<a href='#n1' role='doc-noteref'><sup>1</sup></a>",
        "<a href='notes.xhtml#fn2'><sup>2</sup></a>",
        "<sup>[<a href='#c'>3</a>]</sup>",
        "<sup><a href='#a'>1</a>, <a href='#b'>2</a></sup>",
    ],
)
def test_reference_marks_of_notes_are_removed(mark: str) -> None:
    power = "<sup><a href='/wiki/power#six'>6</a></sup>"
    page = f"<main><p>It took two days to cool.{mark} It covers 12 km<sup>2</sup>, or 10{power} plots.</p></main>"
    assert html.read(page.encode(), 0).text == "It took two days to cool. It covers 12 km2, or 106 plots."


def test_line_of_code_in_a_table_stays_in_its_row_and_line_numbers_are_removed() -> None:
    row = "<tr><td><pre><code>ls -l</code></pre></td><td>Lists files</td></tr>"
    listing = "<tr><td class='linenos'><pre>1\n2</pre></td><td class='code'><pre>a = 1\nb = 2</pre></td></tr>"
    text = html.read(f"<main><table>{row}</table><table>{listing}</table></main>".encode(), 0).text
    assert text.split("\n\n") == ["ls -l | Lists files", "```\na = 1\nb = 2\n```"]


@pytest.mark.parametrize("page", ["<pre class='postcode'>{}</pre>", "<div class='language-en'><pre>{}</pre></div>"])
def test_class_that_only_contains_code_or_is_a_language_of_prose_marks_no_code(page: str) -> None:
    assert html.read(f"<main>{page.format('Mill Lane')}</main>".encode(), 0).text == "Mill Lane"


def test_og_url_is_the_fallback_and_relative_urls_are_ignored() -> None:
    og = '<html><head><meta property="og:url" content="https://a.example/b"></head><body>x</body></html>'
    assert html.read(og.encode(), 0).url == "https://a.example/b"
    assert html.read(b'<html><head><link rel="canonical" href="/b"></head><body>x</body></html>', 0).url is None


def test_html_is_decoded_by_declared_encoding() -> None:
    page = '<html><head><meta charset="gb2312"></head><body><main><p>海港在镇的南边。</p></main></body></html>'
    assert "海港在镇的南边。" in html.read(page.encode("gb2312"), 0).text


def test_markdown_markup_is_removed_and_words_are_kept() -> None:
    source = (
        '---\ntitle: "The Handbook"\nurl: https://site.example/handbook\n---\n\n# Chapter *Two*\n\n'
        "The [harbour](https://x.example) is **deep**\nand cold.\n\n- one\n- two `three`\n\n"
        "1. first\n2. second\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<!-- hidden -->\n\n```\ncode()\n```\n"
    )
    content = markdown.read(source.encode())
    assert (content.title, content.url) == ("The Handbook", "https://site.example/handbook")
    assert content.text == (
        "Chapter Two\n\nThe harbour is deep and cold.\n\n- one\n- two three\n\n"
        "1. first\n2. second\n\na | b\n1 | 2\n\n```\ncode()\n```"
    )


def test_markdown_title_falls_back_to_first_heading() -> None:
    assert markdown.read(b"# Rules\n\nText.").title == "Rules"
    assert "not: [yaml" in markdown.read(b"---\nnot: [yaml\n---\nText.").text
    assert markdown.read(b"---\ntitle: Rules\ndate: 2019-13-45\n---\nText.") == Content("Text.", "Rules")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "gb18030", "shift_jis"])
def test_plain_text_is_read_in_common_encodings(encoding: str) -> None:
    words = {
        "cp1252": "The café on “Candle Street” charges £5 — no more. ",
        "gb18030": "本岛位于大陆以东十四英里，人口两千三百一十四人。",
        "shift_jis": "島は海の中にあります。港は町の南にあります。",
    }
    text = words.get(encoding, "The café on “Candle Street” charges £5. ") * 4
    assert plain.read(text.encode(encoding)).text == text


def test_binary_data_is_unreadable() -> None:
    with pytest.raises(UnreadableError):
        plain.read(bytes(range(256)) * 20)


def test_pdf_yields_paragraphs_without_running_heads_and_hyphens() -> None:
    def furniture(number: int) -> list[tuple[int, int, str]]:
        return [(50, 800, "Reading copy"), (50, 30, f"page {number}")]

    first = [
        (50, 740, "Heading"),
        (50, 700, "The long breakwater at Brunnick is called the Long Hand and har-"),
        (50, 686, "bour men love it. It is long, and was built by many of the masons who"),
        (50, 672, "came over."),
        (50, 644, "The tide-mill stands at Pargell Creek and is the only mill, and the tide-"),
        (50, 630, "mill keeper rings a bell that can be heard all the way from here to"),
    ]
    second = [
        (50, 740, "Calderhythe. It is a very old bell, that was brought from the mainland by"),
        (50, 726, "ship."),
    ]
    text = pdf.read(pdf_file([furniture(1) + first, furniture(2) + second])).text
    assert text.split("\n\n") == [
        "Heading",
        "The long breakwater at Brunnick is called the Long Hand and harbour men love it. It is long, and was "
        "built by many of the masons who came over.",
        "The tide-mill stands at Pargell Creek and is the only mill, and the tide-mill keeper rings a bell that "
        "can be heard all the way from here to Calderhythe. It is a very old bell, that was brought from the "
        "mainland by ship.",
    ]


def test_vertical_gap_in_pdf_starts_paragraph_after_full_line() -> None:
    heights = (740, 726, 712, 684, 670, 656)
    lines = [(50, height, f"Line {number} goes all the way") for number, height in enumerate(heights)]
    first, second = pdf.read(pdf_file([lines])).text.split("\n\n")
    assert first.startswith("Line 0") and "Line 2" in first and second.startswith("Line 3")


def test_damaged_pdf_is_unreadable() -> None:
    with pytest.raises(UnreadableError, match="PDF"):
        pdf.read(b"%PDF-1.4\ndamaged")


def test_link_out_of_folder_is_rejected_and_link_inside_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("A secret that is long enough to be a document. " * 9)
    (folder / "real.txt").write_text("A text that is long enough to be a document. " * 9)
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "in.txt").symlink_to("real.txt")
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / ".hidden.txt").write_text("x")
    assert [path.name for path in sources(folder)] == ["in.txt", "loop.txt", "out.txt", "real.txt"]
    found = {name: list(extract(folder / name, folder, LIMITS)) for name in ("in.txt", "out.txt", "loop.txt")}
    assert [type(each) for (each,) in found.values()] == [Document, Reject, Reject]


def test_file_name_that_is_not_utf8_is_accepted(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    path.write_text("A text that is long enough to be a document. " * 9)
    (found,) = extract(path, tmp_path, LIMITS)
    assert found.source.encode() == "caf\ufffd.txt".encode()


def test_ids_depend_on_text_and_distinguish_copies() -> None:
    def document(source: str, text: str) -> Document:
        return Document("", source, None, "", "text", text)

    named = list(identified([document("a", "same"), document("b", "same"), document("c", "other")]))
    assert [each.source for each in named] == ["a", "b", "c"]
    assert named[1].id == named[0].id + "-2" and len(named[0].id) == 16
    assert next(identified([document("moved", "other")])).id == named[2].id


def test_text_title_is_a_short_first_line() -> None:
    assert plain.read(b"The Handbook\n\nText.") == Content("The Handbook\n\nText.", "The Handbook")
    assert plain.read(b"It begins with a sentence.\n\nText.").title is None


def test_title_of_a_mail_is_its_subject() -> None:
    head = "From: Rosa <rosa@a.example>\nTo: Tom Vane,\n  Ada Lorne\nSubject: The new pump\nDate: 4 May 2024\n\n"
    assert plain.read(f"{head}Dear Tom,".encode()).title == "The new pump"
    assert plain.read(b"The subject\n\nSubject: none").title == "The subject"
    assert plain.read(f"From rosa@a.example Mon May  6\n{head}Dear Tom,".encode()).title == "The new pump"


@pytest.mark.parametrize(
    ("field", "title"),
    [
        ("=?UTF-8?B?R3LDvMOf?=\n =?utf-8?q?e_von_Ada?=", "Grüße von Ada"),
        ("The pump of\n\tthe mill", "The pump of the mill"),
        ("Grüße", "Grüße"),
        ("=?none?B?R3LDvMOf?=", "=?none?B?R3LDvMOf?="),
        ("", None),
    ],
)
def test_subject_of_a_mail_is_unfolded_and_decoded(field: str, title: str | None) -> None:
    assert plain.read(f"Subject: {field}\nDate: 4 May 2024\n\nDear Tom,".encode()).title == title


@pytest.mark.parametrize(
    ("name", "title"),
    [("rules-of_the-guild", "rules of the guild"), ("scan0012", ""), ("minutes", ""), ("松溪县图书馆", "松溪县图书馆")],
)
def test_file_name_of_several_words_is_the_title_of_a_text_without_one(name: str, title: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.txt").write_text("It begins with a sentence and is long enough. " * 4)
    (found,) = extract(tmp_path / f"{name}.txt", tmp_path, LIMITS)
    assert isinstance(found, Document) and found.title == title


def test_minimum_length_counts_chinese_characters_twice(tmp_path: Path) -> None:
    for count in (49, 50):
        (tmp_path / "a.txt").write_text("海" * count)
        (found,) = extract(tmp_path / "a.txt", tmp_path, LIMITS)
        assert isinstance(found, Document) == (count == 50)
