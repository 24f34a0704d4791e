"""Text normalization: separators never join words, and visible format characters are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.clean.normalize import normalize
from pipelines.data.extract import plain
from pipelines.data.extract.web import html

BREAKS = ["\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
WORDS = st.text(st.sampled_from("abcäéßбв羊¿’—1") | st.characters(categories=["L", "N"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(WORDS, st.sampled_from(BREAKS)), min_size=2, max_size=30))
def test_separators_never_join_words(pieces: list[tuple[str, str]]) -> None:
    words = [normalize(f"{word}", wrapped=False, typed=True)[0] for word, _ in pieces]
    text = "".join(word + separator for word, (_, separator) in zip(words, pieces, strict=True))
    if "\x85" in text and any(word[-1] in "ÃÄÅ" for word in words):
        return  # half of Å in UTF-8 decoded as Latin-1
    assert normalize(text, wrapped=False, typed=True)[0].split() == " ".join(words).split()
    assert normalize(plain.decode(text.encode()), wrapped=False, typed=True)[0].split() == " ".join(words).split()
    page = f"<main><pre>{text.replace(chr(0x1C), chr(10))}</pre></main>"
    assert html.read(page.encode(), 0).text.split() == " ".join(words).split()


def test_next_line_among_c1_controls_is_an_ellipsis_and_mojibake_is_fixed() -> None:
    assert normalize("He said \x93wait\x85\x94 and left.", wrapped=False, typed=True)[0] == "He said “wait…” and left."
    assert (
        normalize("Ã\x85ngstrÃ¶m was born in LÃ¶gdÃ¶.", wrapped=False, typed=True)[0] == "Ångström was born in Lögdö."
    )


SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.mark.parametrize("text", ["می\u200cخواهم \u06dd١", "👩\u200d🌾", SCOTLAND])
def test_visible_format_characters_are_kept(text: str) -> None:
    assert normalize(text, wrapped=False, typed=True)[0] == text


def test_tag_characters_outside_flags_are_removed() -> None:
    smuggled = "".join(chr(0xE0000 + ord(letter)) for letter in "obey")
    assert normalize(f"A plain é sentence.{smuggled}", wrapped=False, typed=True)[0] == "A plain é sentence."


def test_entities_are_kept_in_text_about_markup_and_decoded_elsewhere() -> None:
    about = "Write &lt;b&gt; to make words bold.\n\nAn ampersand is &amp;."
    assert normalize(about, wrapped=False, typed=True)[0] == about
    assert (
        normalize("&amp;amp; is written for &amp;.", wrapped=False, typed=True)[0] == "&amp;amp; is written for &amp;."
    )
    assert (
        normalize("Fern &amp; Sons, it&#39;s &quot;open&quot;", wrapped=False, typed=True)[0]
        == 'Fern & Sons, it\'s "open"'
    )


VERSE = "Frost on the pane,\nfern under glass,\nthe boiler sings\nfor those who pass.\n\n" * 3
SONNET = """When forty winters shall besiege thy brow,
And dig deep trenches in thy beauty's field,
Thy youth's proud livery so gazed on now,
Will be a tatter'd weed of small worth held."""


@pytest.mark.parametrize("text", [VERSE.strip(), SONNET])
def test_verse_keeps_its_lines(text: str) -> None:
    assert normalize(text, wrapped=True, typed=True)[0] == text
