"""Removal of hidden elements from a page: those not rendered, or hidden from screen readers.

Only attributes are evaluated (`hidden`, `style`, `aria-hidden`); style sheets are not applied. `opacity: 0` is kept,
because pages use it to fade in. An element with nearly all of the page's text is kept too, because a script reveals it
after loading.
"""

import re
from collections.abc import Iterator

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import DOMNode, ElementNode, HTMLTree

REVEALED_SHARE = 0.9
"""Maximum share of a page's characters in a hidden element; one with more is assumed to be revealed by a script."""
_MAY_HIDE = re.compile(r"\bhidden\b|display|visibility", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def remove(tree: HTMLTree, source: str, most: float = REVEALED_SHARE) -> None:
    """Remove hidden elements from the tree of `source`, except elements with more than the share `most` of its text."""
    if tree.document is None or not _MAY_HIDE.search(source):
        return
    nodes, whole, at = list(elements(tree.document)), None, 0
    while at < len(nodes):
        node = nodes[at]
        at += 1
        if not _is_marked(node) and not _is_styled_away(node):
            continue
        whole = _characters(tree) if whole is None else whole
        if _characters(node.html) <= most * whole:
            at += 0 if (shown := _shown_again(node)) else sum(1 for _ in elements(node)) - 1
            node.replace_with(*shown)


def elements(node: DOMNode) -> Iterator[ElementNode]:
    """Yield elements by traversal, because a query takes time quadratic in the number of matches."""
    return (each for each in node if isinstance(each, ElementNode))


def _is_marked(node: ElementNode) -> bool:
    if node.hasattr("hidden") and (node.getattr("hidden") or "").lower() != "until-found":
        return True
    return (node.getattr("aria-hidden") or "").lower() == "true"


def _is_styled_away(node: ElementNode) -> bool:
    style = _style(node)
    return style.get("display") == "none" or style.get("visibility") in ("hidden", "collapse")


def _shown_again(node: ElementNode) -> list[ElementNode]:
    """Return the outermost descendants of a `visibility: hidden` element that set `visibility: visible`."""
    shown: list[ElementNode] = []
    if _is_marked(node) or _style(node).get("display") == "none":
        return shown
    for each in elements(node):
        if _style(each).get("visibility") == "visible" and not (shown and shown[-1].contains(each)):
            shown.append(each)
    return shown


def _style(node: ElementNode) -> dict[str, str]:
    """Return the declarations of a `style` attribute; the last declaration of a property wins."""
    if not node.hasattr("style"):
        return {}
    declarations = _COMMENT.sub("", node.getattr("style") or "").lower().split(";")
    pairs = (declaration.replace("!important", "").partition(":") for declaration in declarations)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _characters(html: HTMLTree | str) -> int:
    return len(extract_plain_text(html, preserve_formatting=False, alt_texts=False))
