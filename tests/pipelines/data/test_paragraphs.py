"""Line unwrapping and hyphenation."""

import textwrap

import pytest

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


def test_quoted_lines_of_a_mail_are_kept() -> None:
    quoted = "\n".join(f"> {line}" for line in textwrap.wrap(PROSE, 60))
    assert unwrap(f"{textwrap.fill(PROSE, 62)}\n\n{quoted}")[0] == f"{PROSE}\n\n{quoted}"


LOG = [f"2024-05-0{day} INFO the pump started again with firmware 2.4.{day} on host {day}" for day in range(1, 6)]
URLS = [f"https://www.example.org/handbook/{year}/annual-leave-of-all-employees.html" for year in range(2019, 2024)]
TABLE = [f"{number};Alderley;1862;2;1450;Northern_Rail_Company_Limited" for number in ("id", 1, 2, 3)]


@pytest.mark.parametrize("records", [LOG, URLS, TABLE])
def test_records_keep_their_lines_alone_and_beside_prose(records: list[str]) -> None:
    alone = "\n".join(records)
    assert unwrap(alone) == (alone, 0)
    prose = textwrap.fill(PROSE, max(map(len, records)))
    assert unwrap(f"{prose}\n\n{alone}\n\n{prose}")[0] == f"{PROSE}\n\n{alone}\n\n{PROSE}"


def test_letter_with_more_short_lines_than_wrapped_ones_is_unwrapped() -> None:
    head, foot = "Orchard Systems\nMill Lane 4\nPenmouth\n4 May 2024", "Kind regards\nRosa Delgado\nOrchard Systems"
    body = (
        "thank you for your letter of 2 May. The pump which you ordered has left the works at Halden, and it should "
        "reach you before the end of the month."
    )
    letter = f"{head}\n\nDear Mr Brown,\n\n{textwrap.fill(body, 70)}\n\n{foot}"
    assert unwrap(letter)[0] == f"{head}\n\nDear Mr Brown,\n\n{body}\n\n{foot}"


def test_wrapped_list_items_and_the_prose_before_them_are_unwrapped() -> None:
    items = [f"- {PROSE}", "- ring the bell", "- open the sluice", "- wait"]
    wrapped = [textwrap.fill(part, 60, subsequent_indent="  " * part.startswith("-")) for part in (PROSE, *items)]
    assert unwrap("\n".join(wrapped))[0] == "\n".join([PROSE, *items])


def test_one_paragraph_per_line_is_unchanged() -> None:
    assert unwrap(f"{PROSE}\n{PROSE}") == (f"{PROSE}\n{PROSE}", 0)


def test_chinese_lines_are_joined_without_a_space() -> None:
    line = "本岛位于大陆以东十四英里人口两千三百一十四人最高处名为乌尔法斯特"
    assert unwrap(f"{line}\n{line[:9]}\n结束。")[0] == f"{line}{line[:9]}\n结束。"


def test_hyphenated_words_are_joined_as_the_text_spells_them() -> None:
    assert joined(["the har-", "bour"], set()) == "the harbour"
    assert joined(["the tide-", "mill"], {"tide-mill"}) == "the tide-mill"
    assert joined(["from 1847-", "1851"], set()) == "from 1847- 1851"
