"""EPUB books: the chapters in their order, each a page of HTML."""

import io
import posixpath
import zipfile
from urllib.parse import unquote

from lxml import etree

from pipelines.data import dates, html
from pipelines.data.containers import DAMAGED, member
from pipelines.data.documents import Content, UnreadableError
from pipelines.data.docx import parse

_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"
_PACKAGE = "{http://www.idpf.org/2007/opf}"
_ELEMENT = ".//{http://purl.org/dc/elements/1.1/}"


def read(data: bytes, limit: int) -> Content:
    """Read an EPUB file of which no chapter is larger than `limit` bytes.

    Raises:
        UnreadableError: it is damaged, encrypted or too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            root = parse(member(archive, "META-INF/container.xml", limit)).find(f".//{_CONTAINER}rootfile")
            place = root.get("full-path")
            package = parse(member(archive, place, limit))
            files = {each.get("id"): each.get("href") for each in package.iter(f"{_PACKAGE}item")}
            order = [files[each.get("idref")] for each in package.iter(f"{_PACKAGE}itemref")]
            names = [posixpath.normpath(posixpath.join(posixpath.dirname(place), unquote(each))) for each in order]
            chapters = [html.read(member(archive, name, limit), 0) for name in names]
    except (*DAMAGED, KeyError, AttributeError, TypeError, etree.XMLSyntaxError) as error:
        raise UnreadableError(f"unreadable EPUB: {error}") from error
    title = (package.findtext(f"{_ELEMENT}title") or "").strip()
    texts = (chapter.text.strip() for chapter in chapters)
    headings = (heading for chapter in chapters for heading in (chapter.title, *chapter.headings) if heading)
    when = dates.parsed(package.findtext(f"{_ELEMENT}date"))
    return Content("\n\n".join(filter(None, texts)), title or None, None, when, tuple(headings))
