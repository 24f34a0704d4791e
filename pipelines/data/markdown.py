"""Markdown files: readable text without markup; title and address from the front matter."""

import re
from itertools import pairwise
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipelines.data import dates, html, plain
from pipelines.data.documents import Content

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def read(data: bytes, charset: str | None = None) -> Content:
    """Read a Markdown file; without front matter its title is its first heading of level one.

    `charset` is that of an HTTP header.

    Raises:
        UnreadableError: no encoding fits.
    """
    facts, body = _front_matter(plain.decode(data, charset))
    tokens = _PARSER.parse(body)
    headings = _headings(tokens)
    title = facts.get("title") or next((text for level, text in headings if level == "h1"), None)
    url = html.absolute(facts.get("url") or facts.get("canonical_url"))
    when = dates.parsed(facts.get("date"))
    named = title if isinstance(title, str) and title else None
    return Content(_text(tokens), named, url, when, tuple(text for _, text in headings))


def _front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Split off the YAML between two lines of dashes; what is not a YAML mapping belongs to the text."""
    found = _FRONT_MATTER.match(text)
    if not found:
        return {}, text
    try:
        facts = yaml.load(found[1], Loader=yaml.BaseLoader)  # safe, and leaves every value a string
    except (yaml.YAMLError, RecursionError):
        return {}, text
    return (facts, text[found.end() :]) if isinstance(facts, dict) else ({}, text)


def _headings(tokens: list[Token]) -> list[tuple[str, str]]:
    """Return each heading's tag and words."""
    pairs = pairwise(tokens)
    return [(token.tag, _inline(after).strip()) for token, after in pairs if token.type == "heading_open"]


def _text(tokens: list[Token]) -> str:
    """Lay out blocks: paragraphs apart by an empty line, items and rows of a table on lines of their own."""
    text, mark = "", ""
    for token in tokens:
        if token.type == "list_item_open":
            mark = f"{token.info}{token.markup} " if token.info else "- "
        elif token.type == "tr_close":
            text = text.removesuffix(" | ") + "\n"
        elif token.type == "inline":
            text += mark + _inline(token)
            mark = ""
        elif token.type in ("fence", "code_block"):
            text += token.content.rstrip() + "\n\n"
        elif token.type == "html_block":
            text += html.plain_text(token.content) + "\n\n"
        text += _AFTER.get(token.type, "") if not token.hidden else ("\n" if token.type == "paragraph_close" else "")
    return re.sub(r"\n{3,}", "\n\n", text).strip()


_AFTER = {
    "heading_close": "\n\n",
    "paragraph_close": "\n\n",
    "bullet_list_close": "\n",
    "ordered_list_close": "\n",
    "table_close": "\n",
    "th_close": " | ",
    "td_close": " | ",
}


def _inline(token: Token) -> str:
    """Return the words of a line: link texts without addresses, no images, wrapped lines joined."""
    parts = []
    for child in token.children or []:
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type == "softbreak":
            parts.append(" ")
        elif child.type == "hardbreak":
            parts.append("\n")
    return "".join(parts)
