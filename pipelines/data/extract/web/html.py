"""HTML reader: main text, title, canonical URL, date and headings.

A single `<main>` or `<article>` element is used as the content if it contains enough of the text that resiliparse's
heuristics extract. Otherwise the heuristics are used, with trafilatura as the fallback if they extract too little.
Code is put between fences, which keep it verbatim through cleaning.
"""

import re
from urllib.parse import urlsplit

import trafilatura
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import ElementNode, HTMLParserException, HTMLTree

from pipelines.data import fences, paragraphs
from pipelines.data.documents import Content, UnreadableError
from pipelines.data.extract import charset, dates
from pipelines.data.extract.web import hidden
from pipelines.text import layout

_NOT_CONTENT = [
    "nav",
    "aside",
    "footer",
    "form",
    "button",
    "dialog",
    "[role=navigation]",
    # Reference marks of footnotes; `_prepare` removes those without a role.
    "a[role=doc-noteref]",
    r"a[epub\:type~=noteref]",
]
_NOT_IN_CHAPTER = [selector for selector in _NOT_CONTENT if selector != "aside"]
_CODE_CLASS = re.compile(
    r"\bhighlight|(?<![a-z])(?:source)?code(?:hilite|block|ray)?(?![a-z])|prettyprint|programlisting|literal-block",
    re.IGNORECASE,
)
_LANGUAGE_CLASS = re.compile(r"\blang(?:uage)?-", re.IGNORECASE)  # of an ancestor, it may be the language of its prose
_NOTE_MARK = re.compile(r"[\[(]?(?:\w{1,3}|[*†‡]+)[\])]?")
_NOTE_ADDRESS = re.compile(r"^#|#_?(?:cite|fn|ftn|foot|end|note|ref|n\d)", re.IGNORECASE)
_MIN_MARKED_SHARE = {"main": 0.2, "article": 0.5}
"""Minimum share of the page's text in a marked element. `<main>` is the dominant content unless a script fills it
later; an `<article>` may be a teaser. Of 1,500 documentation pages with more than 200 characters in `<main>`, none had
less than 0.54; the minimum for shorter ones was 0.22, since navigation and other chrome weigh more there."""
_DATES = (
    ("meta[property='article:published_time']", "content"),
    ("meta[itemprop=datePublished]", "content"),
    ("meta[name='citation_publication_date']", "content"),
    ("meta[name='dcterms.date']", "content"),
    ("meta[name='DC.date']", "content"),
    ("meta[name=date]", "content"),
    ("article time[datetime]", "datetime"),
    ("main time[datetime]", "datetime"),
)
_PUBLISHED = re.compile(r'"datePublished"\s*:\s*"([^"]+)"')
_BULLET = re.compile(r"^[ \t]*•[ \t]*", re.MULTILINE)
_NUMBER = re.compile(r"^[ \t]+(?=\d+\. )", re.MULTILINE)
_CELL_END = "\t\t"  # in resiliparse's plain text
_MARKED_FENCE = re.compile(r"^[ \t]*(?:•|\d+\.)[ \t]+(?=`{3,}$)", re.MULTILINE)  # of a list item that begins with code


def read(data: bytes, enough: int, declared: str | None = None, is_chapter: bool = False) -> Content:
    """Read a page; if it yields fewer than `enough` characters, the fallback extractor is tried.

    `declared` is the charset of the HTTP header, which takes precedence over that of the page. The chapter of a book is
    all main content, and its `<aside>` elements are notes and boxed texts.

    Raises:
        UnreadableError: the page cannot be decoded or parsed.
    """
    source = charset.decode(data, (declared, charset.of_html(data)))
    try:
        tree = HTMLTree.parse(source)
        url, when = _address(tree), _date(tree)
        hidden.remove(tree, source)
        _prepare(tree)
        text = _text(tree, False, _NOT_IN_CHAPTER) if is_chapter else _main_text(tree)
    except HTMLParserException as error:
        raise UnreadableError(f"not HTML: {error}") from error
    if len(text) < enough:
        text = max(trafilatura.extract(str(tree), include_comments=False) or "", text, key=len)
    text = _tidy(text)
    return Content(text, _title(tree), url, when, _headings(tree, text))


def plain_text(fragment: str) -> str:
    """Return all visible text of an HTML fragment."""
    tree = HTMLTree.parse(fragment)
    hidden.remove(tree, fragment, most=1.0)
    _prepare(tree)
    text: str = extract_plain_text(tree, preserve_formatting=True, alt_texts=False)
    return _tidy(text)


def _prepare(tree: HTMLTree) -> None:
    """Fence code, and remove its line numbers and reference marks of notes, which would be glued to a sentence."""
    if tree.document is None or tree.document.query_selector("pre, sup") is None:
        return
    for node in list(hidden.elements(tree.document)):
        if _is_line_number(node) or (node.tag == "sup" and _is_note_mark(node)):
            node.replace_with()
    _fence_code(tree, [node for node in hidden.elements(tree.document) if node.tag == "pre"])


def _is_line_number(node: ElementNode) -> bool:
    classes = (node.getattr("class") or "").split()
    return "linenos" in classes or "linenodiv" in classes or (node.tag == "td" and "gutter" in classes)


def _is_note_mark(sup: ElementNode) -> bool:
    """Return whether a superscript is a link to a note; an exponent may be a link to an article."""
    text = (sup.text or "").strip()
    parent = sup.parent
    links = [node for node in hidden.elements(sup) if node.tag == "a"]
    if isinstance(parent, ElementNode) and parent.tag == "a" and (parent.text or "").strip() == text:
        links.append(parent)
    marks = re.sub(r"[,;]|(?<=\])(?=\[)", " ", text).split()
    return all(map(_NOTE_MARK.fullmatch, marks)) and any(
        _NOTE_ADDRESS.search(link.getattr("href") or "") for link in links
    )


def _fence_code(tree: HTMLTree, blocks: list[ElementNode]) -> None:
    """Fence preformatted code, except a line of it in a table; other preformatted text, such as a mail, is prose."""
    for block in filter(_is_code, blocks):
        for line_break in [each for each in hidden.elements(block) if each.tag == "br"]:
            line_break.text = "\n"
        code = paragraphs.line_feeds(block.text or "").strip("\n")
        if "\n" not in code and _is_in_cell(block) and (line := tree.create_text_node(f" {code} ")):
            block.replace_with(line)
        else:
            block.text = f"\n{fences.fenced(code)}\n"


def _is_in_cell(node: ElementNode) -> bool:
    parent = node.parent
    while isinstance(parent, ElementNode) and parent.tag not in ("td", "th"):
        parent = parent.parent
    return isinstance(parent, ElementNode)


def _is_code(block: ElementNode) -> bool:
    parents = (block, block.parent)
    classes = " ".join(each.getattr("class") or "" for each in parents if isinstance(each, ElementNode))
    named = _CODE_CLASS.search(classes) or _LANGUAGE_CLASS.search(block.getattr("class") or "")
    return named is not None or any(each.tag == "code" for each in hidden.elements(block))


def _main_text(tree: HTMLTree) -> str:
    whole = _text(tree, True)
    for tag, share in _MIN_MARKED_SHARE.items():
        marked = _all(tree, tag)
        if len(marked) == 1 and len(text := _text(marked[0].html, False)) >= share * len(whole):
            return text
    return whole


def _text(html: HTMLTree | str, main_content: bool, skipped: list[str] = _NOT_CONTENT) -> str:
    text: str = extract_plain_text(
        html, preserve_formatting=True, main_content=main_content, alt_texts=False, skip_elements=skipped
    )
    return text


def _tidy(text: str) -> str:
    """Format lists as in Markdown, normalize line breaks to line feeds, and join table cells with ` | `."""
    return fences.outside_code(_MARKED_FENCE.sub("", paragraphs.line_feeds(text)), _tidy_prose)


def _tidy_prose(text: str) -> str:
    lines = _NUMBER.sub("", _BULLET.sub("- ", text)).split("\n")
    return "\n".join(_row(line) if _CELL_END in line else line for line in lines)


def _row(line: str) -> str:
    return layout.row([" ".join(cell.split()) for cell in line.split(_CELL_END)])


def _title(tree: HTMLTree) -> str | None:
    """Return the page's only `<h1>`, else its `<title>`, which often ends with the site's name."""
    headings = [heading.text or "" for heading in _all(tree, "h1")]
    title = headings[0] if len(headings) == 1 else tree.title
    return " ".join(title.split()) if title else None


def _date(tree: HTMLTree) -> str | None:
    """Return the publication date from the page's metadata; dates in the text are ignored."""
    for selector, attribute in _DATES:
        for found in _all(tree, selector):
            if when := dates.parsed(found.getattr(attribute, "")):
                return when
    for found in _all(tree, 'script[type="application/ld+json"]'):
        published = _PUBLISHED.search(found.text or "")
        if published and (when := dates.parsed(published[1])):
            return when
    return None


def _headings(tree: HTMLTree, text: str) -> tuple[str, ...]:
    """Return the headings of the main text in document order."""
    lines = {" ".join(line.split()) for line in text.split("\n")}
    found = (" ".join((heading.text or "").split()) for heading in _all(tree, "h1, h2, h3, h4, h5, h6"))
    return tuple(heading for heading in found if heading in lines)


def _all(tree: HTMLTree, selector: str) -> list[ElementNode]:
    found = tree.document.query_selector_all(selector) if tree.document else []
    return [node for node in found if isinstance(node, ElementNode)]


def _address(tree: HTMLTree) -> str | None:
    for selector, attribute in (("link[rel=canonical]", "href"), ("meta[property='og:url']", "content")):
        for found in _all(tree, selector):
            if url := absolute(found.getattr(attribute, "")):
                return url
    return None


def absolute(url: object) -> str | None:
    """Return `url` if it has a host, so that it can identify a page."""
    if not isinstance(url, str):
        return None
    try:
        return url.strip() if urlsplit(url.strip()).netloc else None
    except ValueError:
        return None
