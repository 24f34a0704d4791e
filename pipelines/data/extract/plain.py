"""Plain-text reader for common encodings."""

import re

from pipelines.data import paragraphs
from pipelines.data.documents import Content, UnreadableError
from pipelines.data.extract import charset

_LONGEST_TITLE = 120
_SUBJECT = re.compile(r"(?:[A-Z][\w-]*:.*\n(?:[ \t]+\S.*\n)*)*Subject:(.*)")  # header fields (RFC 5322)
_ENDS = tuple(".,;:。，；：")


def read(data: bytes, declared: str | None = None) -> Content:
    """Read a text file; the title is a short first line that was not wrapped and does not end a sentence.

    The title of a mail is its subject.

    `declared` is the charset of an HTTP header.

    Raises:
        UnreadableError: no encoding fits.
    """
    text = decode(data, declared)
    if mail := _SUBJECT.match(text.lstrip()):
        return Content(text, mail[1].strip() or None)
    first = paragraphs.unwrap(text.strip())[0].split("\n", 1)[0].strip()
    return Content(text, first if len(first) <= _LONGEST_TITLE and not first.endswith(_ENDS) else None)


def decode(data: bytes, declared: str | None = None) -> str:
    """Decode text by `charset.decode` and normalize line breaks to line feeds.

    Raises:
        UnreadableError: no encoding fits, or the text contains NUL characters.
    """
    text = charset.decode(data, (declared,))
    if "\0" in text:
        raise UnreadableError("not text")
    return paragraphs.line_feeds(text)
