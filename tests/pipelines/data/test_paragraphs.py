"""Line unwrapping and hyphenation."""

import textwrap

from pipelines.data.paragraphs import joined, unwrap

PROSE = (
    "The long breakwater at Brunnick is called the Long Hand, and it was built of stone from Gribden Quarry. "
    "It has been pounded every winter since then and has shifted hardly at all, as anybody will tell you."
)


def test_wrapped_prose_is_joined_into_paragraphs() -> None:
    wrapped = "THE LONG HAND\n\n" + textwrap.fill(PROSE, 60) + "\n\n" + textwrap.fill(PROSE, 60)
    text, count = unwrap(wrapped)
    assert text == f"THE LONG HAND\n\n{PROSE}\n\n{PROSE}"
    assert count == len(textwrap.wrap(PROSE, 60)) * 2 - 2


def test_intentional_line_breaks_are_kept() -> None:
    poem = "The sea came in\nand the sea went out\nand nobody knew\nwhat it was about"
    items = textwrap.fill(PROSE, 60) + "\n- ring the bell twice\n- open the sluice\n\nPort      Dues\nBrunnick  18"
    assert unwrap(poem) == (poem, 0)
    assert unwrap(items)[0].endswith("\n- ring the bell twice\n- open the sluice\n\nPort      Dues\nBrunnick  18")


def test_one_paragraph_per_line_is_unchanged() -> None:
    assert unwrap(f"{PROSE}\n{PROSE}") == (f"{PROSE}\n{PROSE}", 0)


def test_chinese_lines_are_joined_without_a_space() -> None:
    line = "本岛位于大陆以东十四英里人口两千三百一十四人最高处名为乌尔法斯特"
    assert unwrap(f"{line}\n{line[:9]}\n结束。")[0] == f"{line}{line[:9]}\n结束。"


def test_hyphenated_words_are_joined_as_the_text_spells_them() -> None:
    assert joined(["the har-", "bour"], set()) == "the harbour"
    assert joined(["the tide-", "mill"], {"tide-mill"}) == "the tide-mill"
    assert joined(["from 1847-", "1851"], set()) == "from 1847- 1851"
