"""Elements of a page that a browser doesn't show, or hides from everyone who listens to it, are left out of its tree.

Read from attributes alone (`hidden`, `style`, `aria-hidden`); style sheets are not applied. `opacity: 0` is how pages
fade in, and stays. So does an element that holds nearly all of the page: a script shows it once it has loaded.
"""

import re

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import ElementNode, HTMLTree

REVEALED_SHARE = 0.9
"""Of a page's characters; an element with more is taken to be shown by a script."""
_MARKED = "[hidden]:not([hidden='until-found' i]), [aria-hidden=true i]"
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def remove(tree: HTMLTree, most: float = REVEALED_SHARE) -> None:
    """Remove what is hidden from a tree, except an element with more than the share `most` of its text."""
    document = tree.document
    if document is None:
        return
    whole = None
    for node in document.query_selector_all(f"{_MARKED}, [style]"):
        if not isinstance(node, ElementNode) or not _hides(node) or node.closest("html") is None:
            continue
        whole = _characters(tree) if whole is None else whole
        if _characters(node.html) <= most * whole:
            node.replace_with(*_shown_again(node))


def _hides(node: ElementNode) -> bool:
    style = _style(node)
    return style.get("display") == "none" or style.get("visibility") in ("hidden", "collapse") or node.matches(_MARKED)


def _shown_again(node: ElementNode) -> list[ElementNode]:
    """Return the outermost elements in one with `visibility: hidden` that set it to `visible`, which shows them."""
    if _style(node).get("display") == "none" or node.matches(_MARKED):
        return []
    styled = [each for each in node.query_selector_all("[style]") if isinstance(each, ElementNode)]
    shown = [each for each in styled if _style(each).get("visibility") == "visible"]
    return [each for each in shown if not any(other is not each and other.contains(each) for other in shown)]


def _style(node: ElementNode) -> dict[str, str]:
    """Return the declarations of a `style` attribute; of several of one property the last holds."""
    declarations = _COMMENT.sub("", node.getattr("style", "") or "").lower().split(";")
    pairs = (declaration.replace("!important", "").partition(":") for declaration in declarations)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _characters(html: HTMLTree | str) -> int:
    return len(extract_plain_text(html, preserve_formatting=False, alt_texts=False))
