"""EPUB reader: the chapters in reading order, each an HTML page."""

import io
import zipfile
from typing import Any

from pipelines.data.documents import Content, UnreadableError, UnreadablePart
from pipelines.data.extract import dates
from pipelines.data.extract.archives import DAMAGED
from pipelines.data.extract.office.zip_package import Package, resolve_name
from pipelines.data.extract.web import html

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_LICENCES = ("META-INF/rights.xml", "META-INF/sinf.xml")  # Adobe's and Apple's
_ELEMENT = ".//{http://purl.org/dc/elements/1.1/}"


def read(data: bytes, limit: int) -> Content:
    """Read an EPUB file whose chapters have at most `limit` bytes each; unreadable chapters are skipped.

    Raises:
        UnreadableError: the file or its package document is damaged or encrypted.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _book(Package(archive, limit))
    except (UnreadableError, *DAMAGED) as error:
        raise UnreadableError(f"unreadable EPUB: {error}") from error


def _book(parts: Package) -> Content:
    root = next(parts.xml(_CONTAINER).iterfind(".//{*}rootfile[@full-path]"), None)
    if root is None:
        raise UnreadableError(f"{_CONTAINER} names no package document")
    place = root.get("full-path")
    package = parts.xml(place)
    names = _spine(package, place, parts)
    if not _encrypted(parts).isdisjoint({place, *names}):
        raise UnreadableError("encrypted")
    read = (parts.attempt(name, lambda name: _chapter(parts, name)) for name in names)
    chapters = [chapter for chapter in read if chapter is not None]
    if parts.unreadable and not chapters:
        raise UnreadableError(f"no chapter can be read, the last is {parts.unreadable[-1].reason}")
    title = (package.findtext(f"{_ELEMENT}title") or "").strip()
    text = "\n\n".join(filter(None, (chapter.text.strip() for chapter in chapters)))
    named = (dict.fromkeys((chapter.title, *chapter.headings)) for chapter in chapters)
    when = dates.parsed(package.findtext(f"{_ELEMENT}date"))
    headings = tuple(heading for each in named for heading in each if heading)
    return Content(text, title or None, None, when, headings, tuple(parts.unreadable))


def _spine(package: Any, place: str, parts: Package) -> list[str]:
    """Return the chapter names in reading order; entries missing from the manifest are recorded as unreadable."""
    files = {item.get("id"): item.get("href") for item in package.iterfind(".//{*}manifest/{*}item")}
    order = [entry.get("idref") for entry in package.iterfind(".//{*}spine/{*}itemref")]
    missing = [each for each in order if not files.get(each)]
    parts.unreadable += [UnreadablePart(f"{each}", "not in the manifest") for each in missing]
    return [resolve_name(place, files[each]) for each in order if files.get(each)]


def _encrypted(parts: Package) -> set[str]:
    """Return the parts declared as encrypted: obfuscated fonts in many books, chapters under DRM."""
    if _ENCRYPTION not in parts:
        return set()
    declared = parts.attempt(_ENCRYPTION, parts.xml)
    references = () if declared is None else declared.iterfind(".//{*}CipherReference[@URI]")
    return {resolve_name("", reference.get("URI")) for reference in references}


def _chapter(parts: Package, name: str) -> Content:
    data = parts.data(name)
    if not data.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n").startswith(b"<"):
        if any(licence in parts for licence in _LICENCES):
            raise UnreadableError("encrypted")
        raise UnreadableError("not HTML")
    return html.read(data, 0, is_chapter=True)
