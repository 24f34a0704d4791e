"""Markdown reader: code, tables, footnotes, formulas and front matter."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.clean.normalize import normalize
from pipelines.data.extract import markdown

WORDS = st.text("abcxyz", min_size=1, max_size=6)
CODE = st.lists(st.text("_ab(`[ =x&;*<>|$", max_size=14).filter(lambda line: "```" not in line), min_size=1, max_size=5)


def text_of(source: str) -> str:
    """Return the text of a Markdown file."""
    return markdown.read(source.encode()).text


@pytest.mark.parametrize("mark", ["<br>", "<br/>", "<br />", "</li><li>"])
def test_break_separates_words_in_cells_and_lines_elsewhere(mark: str) -> None:
    assert text_of(f"| a | b |\n|---|---|\n| one{mark}two | three |") == "a | b\none two | three"
    assert text_of(f"One{mark}two.") == "One\ntwo."


def test_empty_cells_are_dashes_except_at_the_end_of_a_row() -> None:
    table = (
        "| | Monday | Tuesday |\n|---|---|---|\n| Museum | | 12 hours |\n| Shop | 9 hours | |\n| | | |\n| Café | | |"
    )
    assert text_of(table) == "– | Monday | Tuesday\nMuseum | – | 12 hours\nShop | 9 hours\n\nCafé"


def test_toml_front_matter_is_not_text() -> None:
    content = markdown.read(b'+++\ntitle = "Ferns"\ndate = 2021-05-06\n[extra]\na = 1\n+++\n\nText.')
    assert (content.title, content.date, content.text) == ("Ferns", "2021-05-06", "Text.")
    assert text_of("+++\nnot toml\n+++\nText.").startswith("+++")
    assert markdown.read(b'---\ntitle: "F\\ud83dF"\n---\nText.').title == "F\ufffdF"


def test_footnotes_stay_in_place_and_formulas_in_tex() -> None:
    source = "Text[^1] and [^x].\n\n[^1]: Ibid.\n\n    More.\n\nIt is $a_1 \\{b*c*\\}$.\n\n$$\nx_1\n$$\n"
    assert text_of(source) == "Text and [^x].\n\nIbid.\n\nMore.\n\nIt is $a_1 \\{b*c*\\}$.\n\n$$\nx_1\n$$"


@pytest.mark.parametrize(("item", "text"), [("- ```\n  code\n  ```", "```\ncode\n```\n\n"), ("-", "")])
def test_marker_of_an_item_without_prose_moves_to_no_later_paragraph(item: str, text: str) -> None:
    assert text_of(f"{item}\n\nProse after the list.") == f"{text}Prose after the list."


@given(st.data())
def test_code_is_unchanged_and_each_word_is_read_once(data: st.DataObject) -> None:
    numbers = itertools.count()
    source, expected = [], []
    for _ in range(data.draw(st.integers(1, 5))):
        word = [f"{data.draw(WORDS)}{next(numbers)}" for _ in range(4)]
        match data.draw(st.sampled_from(["code", "table", "list", "quote", "line"])):
            case "code":
                code = "\n".join(data.draw(CODE))
                source.append(f"```python\n{code}\n```")
                expected.append(f"```\n{code}\n```")
            case "table":
                source.append(f"| {word[0]} | **{word[1]}** |\n|--|--|\n| {word[2]}<br>x | `_{word[3]}_` |")
                expected.append(f"{word[0]} | {word[1]}\n{word[2]} x | _{word[3]}_")
            case "list":
                source.append(f"- {word[0]}\n- *{word[1]}*\n\n<!-- -->")
                expected.append(f"- {word[0]}\n- {word[1]}")
            case "quote":
                source.append(f"> {word[0]}[^{word[1]}]\n\n[^{word[1]}]: {word[2]}")
                expected.append(f"{word[0]}\n\n{word[2]}")
            case "line":
                source.append(f"{word[0]} `{word[1]}_({word[2]}` _{word[3]}_")
                expected.append(f"{word[0]} {word[1]}_({word[2]} {word[3]}")
    text = text_of("\n\n".join(source))
    assert text == "\n\n".join(expected)
    assert normalize(text, wrapped=False, typed=False) == (text, [])
