"""Markdown reader: plain text without markup except code fences; title, URL and date from the front matter.

Footnotes stay where they are written. Formulas stay in TeX, including the dollar signs.
"""

import re
import tomllib
from itertools import pairwise
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin

from pipelines.data import fences
from pipelines.data.documents import Content
from pipelines.data.extract import dates, plain
from pipelines.data.extract.web import html
from pipelines.text import layout
from pipelines.text.encoding import encodable_value

_YAML = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TOML = re.compile(r"\A\+\+\+[ \t]*\n(.*?\n)\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL)
_PARSER = (
    MarkdownIt("commonmark")
    .enable(["table", "strikethrough"])
    .use(footnote_plugin, inline=False, move_to_end=False)
    .use(dollarmath_plugin, allow_space=False, allow_digits=False, double_inline=True)
)
_BREAK = re.compile(r"</?(?:br|p|div|h[1-6]|hr|[uod]l|li|d[td]|t[rdh]|blockquote|pre|summary|details)\b", re.IGNORECASE)


def read(data: bytes, charset: str | None = None) -> Content:
    """Read a Markdown file; without a title in the front matter, the first level-one heading is the title.

    `charset` is the one declared in an HTTP header.

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
    """Split off front matter: YAML between `---` lines or TOML between `+++` lines; invalid front matter stays text."""
    for pattern, parse in ((_YAML, _parse_yaml), (_TOML, tomllib.loads)):
        if found := pattern.match(text):
            try:
                facts = parse(found[1])
            except (yaml.YAMLError, tomllib.TOMLDecodeError, RecursionError):
                return {}, text
            return (encodable_value(facts), text[found.end() :]) if isinstance(facts, dict) else ({}, text)
    return {}, text


def _parse_yaml(text: str) -> Any:
    return yaml.load(text, Loader=yaml.BaseLoader)  # safe loader that keeps every value a string


def _headings(tokens: list[Token]) -> list[tuple[str, str]]:
    """Return each heading's tag and text."""
    pairs = pairwise(tokens)
    return [(token.tag, " ".join(_inline(after).split())) for token, after in pairs if token.type == "heading_open"]


def _text(tokens: list[Token]) -> str:
    """Render blocks as text: paragraphs separated by an empty line, list items and table rows on separate lines."""
    text, mark, in_table = "", "", False
    cells: list[str] = []
    for token in tokens:
        if token.type in ("table_open", "table_close"):
            in_table = token.type == "table_open"
        elif token.type == "list_item_open":
            mark = f"{token.info}{token.markup} " if token.info else "- "
        elif token.type == "list_item_close":
            mark = ""  # of an item without prose
        elif token.type == "tr_close":
            text, mark, cells = f"{text}{mark}{layout.row(cells)}\n", "", []
        elif token.type == "inline" and in_table:
            cells.append(" ".join(_inline(token).split()))
        elif token.type == "inline":
            text, mark = f"{text}{mark}{_inline(token)}", ""
        else:
            text += _block(token)
        text += _AFTER.get(token.type, "") if not token.hidden else ("\n" if token.type == "paragraph_close" else "")
    return fences.without_empty_lines(text).strip()


def _block(token: Token) -> str:
    """Return the text of a block that is not inline: code, HTML or a formula."""
    if token.type in ("fence", "code_block"):
        return fences.fenced(token.content.removesuffix("\n")) + "\n\n"
    if token.type == "html_block":
        return html.plain_text(token.content) + "\n\n"
    if token.type.startswith("math_block"):
        return f"$${token.content}$$\n\n"
    return ""


_AFTER = {
    "heading_close": "\n\n",
    "paragraph_close": "\n\n",
    "bullet_list_close": "\n",
    "ordered_list_close": "\n",
    "table_close": "\n",
}


def _inline(token: Token) -> str:
    """Return inline text: links without URLs, no images, soft line breaks joined."""
    parts = []
    for child in token.children or []:
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type.startswith("math_inline"):
            parts.append(f"{child.markup}{child.content}{child.markup}")
        elif child.type == "softbreak":
            parts.append(" ")
        elif child.type == "hardbreak" or (child.type == "html_inline" and _BREAK.match(child.content)):
            parts.append("\n")
    return re.sub(r" *\n[ \n]*", "\n", "".join(parts))
