"""Web pages: main text, title and canonical address.

A page that marks its content with one `<main>` or `<article>` is taken at its word if that holds enough of the text
which resiliparse's heuristics find; elsewhere these decide, and trafilatura where they find too little.
"""

import re
from urllib.parse import urlsplit

import trafilatura
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import ElementNode, HTMLParserException, HTMLTree

from pipelines.data import paragraphs
from pipelines.data.documents import Content, UnreadableError
from pipelines.data.extract import charset, dates
from pipelines.data.extract.web import hidden

_NOT_CONTENT = [
    "nav",
    "aside",
    "footer",
    "form",
    "button",
    "dialog",
    "[role=navigation]",
]
_HELD = {"main": 0.2, "article": 0.5}
"""Share of the page's text that a marked element must hold: `<main>` is its dominant content unless a script fills it
later; an `<article>` may be a teaser. Of 1,500 pages of documentation with more than 200 characters in `<main>`, none
held less than 0.54; of shorter ones the least was 0.22, since the page's chrome weighs more."""
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


def read(data: bytes, enough: int, declared: str | None = None) -> Content:
    """Read a page; `enough` is the number of characters below which the second extractor is asked.

    `declared` is the charset of the HTTP header, which goes before that of the page.

    Raises:
        UnreadableError: the page cannot be decoded or parsed.
    """
    source = charset.decode(data, (declared, charset.of_html(data)))
    try:
        tree = HTMLTree.parse(source)
        url, when = _address(tree), _date(tree)
        hidden.remove(tree, source)
        text = _main_text(tree)
    except HTMLParserException as error:
        raise UnreadableError(f"not HTML: {error}") from error
    if len(text) < enough:
        text = max(trafilatura.extract(str(tree), include_comments=False) or "", text, key=len)
    text = _tidy(text)
    return Content(text, _title(tree), url, when, _headings(tree, text))


def plain_text(fragment: str) -> str:
    """Return all the visible text of a fragment of HTML."""
    tree = HTMLTree.parse(fragment)
    hidden.remove(tree, fragment, most=1.0)
    text: str = extract_plain_text(tree, preserve_formatting=True, alt_texts=False)
    return _tidy(text)


def _main_text(tree: HTMLTree) -> str:
    whole = _text(tree, True)
    for tag, share in _HELD.items():
        marked = _all(tree, tag)
        if len(marked) == 1 and len(text := _text(marked[0].html, False)) >= share * len(whole):
            return text
    return whole


def _text(html: HTMLTree | str, main_content: bool) -> str:
    text: str = extract_plain_text(
        html, preserve_formatting=True, main_content=main_content, alt_texts=False, skip_elements=_NOT_CONTENT
    )
    return text


def _tidy(text: str) -> str:
    """Write lists as Markdown does, line breaks as line feeds, and bring the cells of a table's row together."""
    text = _NUMBER.sub("", _BULLET.sub("- ", paragraphs.line_feeds(text)))
    return re.sub(r"(?<=\S)\t+(?=\S)", " | ", text)


def _title(tree: HTMLTree) -> str | None:
    """Return the page's one `<h1>`, else its `<title>`, which often ends with the name of the site."""
    headings = [heading.text or "" for heading in _all(tree, "h1")]
    title = headings[0] if len(headings) == 1 else tree.title
    return " ".join(title.split()) if title else None


def _date(tree: HTMLTree) -> str | None:
    """Return the date that the page says it was published on; one that only a text mentions is not looked for."""
    for selector, attribute in _DATES:
        for found in _all(tree, selector):
            if when := dates.parsed(found.getattr(attribute, "")):
                return when
    for found in _all(tree, 'script[type="application/ld+json"]'):
        said = _PUBLISHED.search(found.text or "")
        if said and (when := dates.parsed(said[1])):
            return when
    return None


def _headings(tree: HTMLTree, text: str) -> tuple[str, ...]:
    """Return the headings of the main text, in their order."""
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
    """Return `url` if it names a host, so that it can identify a page."""
    if not isinstance(url, str):
        return None
    try:
        return url.strip() if urlsplit(url.strip()).netloc else None
    except ValueError:
        return None
