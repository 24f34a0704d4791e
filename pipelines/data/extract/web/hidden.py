"""Elements of a page that a browser doesn't show, or hides from everyone who listens to it, are left out of its tree.

Read from attributes alone (`hidden`, `style`, `aria-hidden`); style sheets are not applied. `opacity: 0` is how pages
fade in, and stays. So does an element that holds nearly all of the page: a script shows it once it has loaded.
"""

import re
from collections.abc import Iterator

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import DOMNode, ElementNode, HTMLTree

REVEALED_SHARE = 0.9
"""Of a page's characters; an element with more is taken to be shown by a script."""
_MAY_HIDE = re.compile(r"\bhidden\b|display|visibility", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def remove(tree: HTMLTree, source: str, most: float = REVEALED_SHARE) -> None:
    """Remove what is hidden from the tree of `source`, but no element with more than the share `most` of its text."""
    if tree.document is None or not _MAY_HIDE.search(source):
        return
    nodes, whole, at = list(_elements(tree.document)), None, 0
    while at < len(nodes):
        node = nodes[at]
        at += 1
        if not _is_marked(node) and not _is_styled_away(node):
            continue
        whole = _characters(tree) if whole is None else whole
        if _characters(node.html) <= most * whole:
            at += 0 if (shown := _shown_again(node)) else sum(1 for _ in _elements(node)) - 1
            node.replace_with(*shown)


def _elements(node: DOMNode) -> Iterator[ElementNode]:
    """Yield elements by walking: a query takes time with the square of what it finds."""
    return (each for each in node if isinstance(each, ElementNode))


def _is_marked(node: ElementNode) -> bool:
    if node.hasattr("hidden") and (node.getattr("hidden") or "").lower() != "until-found":
        return True
    return (node.getattr("aria-hidden") or "").lower() == "true"


def _is_styled_away(node: ElementNode) -> bool:
    style = _style(node)
    return style.get("display") == "none" or style.get("visibility") in ("hidden", "collapse")


def _shown_again(node: ElementNode) -> list[ElementNode]:
    """Return the outermost elements in one with `visibility: hidden` that set it to `visible`, which shows them."""
    shown: list[ElementNode] = []
    if _is_marked(node) or _style(node).get("display") == "none":
        return shown
    for each in _elements(node):
        if _style(each).get("visibility") == "visible" and not (shown and shown[-1].contains(each)):
            shown.append(each)
    return shown


def _style(node: ElementNode) -> dict[str, str]:
    """Return the declarations of a `style` attribute; of several of one property the last holds."""
    if not node.hasattr("style"):
        return {}
    declarations = _COMMENT.sub("", node.getattr("style") or "").lower().split(";")
    pairs = (declaration.replace("!important", "").partition(":") for declaration in declarations)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _characters(html: HTMLTree | str) -> int:
    return len(extract_plain_text(html, preserve_formatting=False, alt_texts=False))
