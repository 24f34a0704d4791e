"""Removal of hidden elements: each visible word is kept once and in order, hidden words are removed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.extract.web import html

HIDDEN = [
    *("hidden", "HIDDEN=''", "aria-hidden=true", "ARIA-HIDDEN='TRUE'", "style='display:none'"),
    *("style='color: red; DISPLAY : None !important;'", "style='visibility:hidden'"),
    *("style='/* x */visibility: collapse'", "style='display:block; display:none'"),
]
SHOWN = [
    *("", "hidden=until-found", "aria-hidden=false", "style='display:none; display:block'", "style='opacity:0'"),
    *("class=hidden-gem", "style='background:url(display:none)'", "data-hidden"),
]
TAGS = ["div", "p", "span", "section", "details", "table", "ul", "b", "blockquote"]
LEFT_OUT = ["script", "style", "template", "noscript"]
Element = tuple[str, str, list["Element | None"], bool]
"""Tag, attributes, children and whether it is hidden; `None` is a word."""


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> Element:
    """Draw an element."""
    tag = draw(st.sampled_from(TAGS if depth else ["b"]))
    is_hidden = draw(st.integers(0, 3)) == 0
    attributes = draw(st.sampled_from(HIDDEN if is_hidden else SHOWN))
    children: list[Element | None] = [None]
    if depth:
        children = draw(st.lists(st.none() | trees(depth - 1), min_size=1, max_size=4))
    return tag, attributes, children, is_hidden


def built(tree: Element | None, shown: bool, words: list[str], visible: list[str]) -> str:
    """Return the tree's HTML with numbered words, and collect the visible ones."""
    if tree is None:
        words.append(f"word{len(words)}")
        visible += words[-1:] if shown else []
        return f"<i>{words[-1]}</i> "
    tag, attributes, children, is_hidden = tree
    shown = shown and not is_hidden
    if tag in ("table", "ul"):
        row, cell = ("tr", "td") if tag == "table" else ("", "li")
        inner = "".join(f"<{cell}>{built(each, shown, words, visible)}</{cell}>" for each in children)
        inner = f"<{row}>{inner}</{row}>" if row else inner
    else:
        inner = "".join(built(each, shown, words, visible) for each in children)
    tag = "div" if tag == "p" else tag  # a paragraph ends where a block in it begins
    return f"<{tag} {attributes}>{inner}</{tag}>"


@given(st.lists(trees(), min_size=1, max_size=5), st.sampled_from(LEFT_OUT))
def test_only_visible_words_are_kept_once_and_in_order(parts: list[Element], tag: str) -> None:
    words: list[str] = []
    visible: list[str] = ["anchor"] * 200  # most of the page is visible
    body = "".join(built(part, True, words, visible) for part in parts)
    page = f"<html><body><main><p>{'anchor ' * 200}</p>{body}<{tag}>unseen</{tag}></main></body></html>"
    text = html.read(page.encode(), 0).text
    assert text.replace("|", " ").replace("- ", " ").split() == visible


TEXT = "The keeper rings the bell twice before the gate is opened. " * 5


@pytest.mark.parametrize("style", ["visibility:hidden", "display:none", "opacity:0"])
def test_page_revealed_by_script_is_read_without_hidden_parts(style: str) -> None:
    page = f"<html><body style='{style}'><div style='{style}'><p>{TEXT}</p><p hidden>Secret.</p></div></body></html>"
    assert html.read(page.encode(), 100).text.strip() == TEXT.strip()


def test_visible_descendants_of_hidden_elements_are_kept() -> None:
    page = (
        f"<main><p>{TEXT}</p><div style='visibility:hidden'>No. <p style='visibility:visible'>Yes.</p> No.</div></main>"
    )
    assert html.read(page.encode(), 0).text.split()[-1] == "Yes."


def test_hidden_heading_is_not_the_title() -> None:
    page = f"<main><h1>The Mill</h1><h1 hidden>Menu</h1><p>{TEXT}</p></main>"
    assert html.read(page.encode(), 0).title == "The Mill"


@pytest.mark.parametrize(("tag", "held"), [("article", "teaser"), ("main", "shell")])
def test_small_marked_element_is_not_used_as_content(tag: str, held: str) -> None:
    little = f"<{tag}><p>{'A cake is baked on Sundays. ' * (3 if held == 'teaser' else 0)}</p></{tag}>"
    page = f"<html><body><div id=content><h1>The Gate</h1><p>{TEXT}</p><p>{TEXT}</p></div>{little}</body></html>"
    assert html.read(page.encode(), 0).text.count("rings the bell") == 10
    whole = f"<html><body><{tag}><p>{TEXT}</p></{tag}><div><p>A cake is baked on Sundays.</p></div></body></html>"
    assert html.read(whole.encode(), 0).text.strip() == TEXT.strip()
