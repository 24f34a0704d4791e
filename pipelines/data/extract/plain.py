"""Plain-text reader for common encodings."""

import re
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from pipelines.data import paragraphs
from pipelines.data.documents import Content, UnreadableError
from pipelines.data.extract import charset
from pipelines.text.encoding import encodable

_LONGEST_TITLE = 120
_SUBJECT = re.compile(  # header fields (RFC 5322), in a mailbox after a line with the sender
    r"(?:From .*\n)?(?:[A-Z][\w-]*:.*\n(?:[ \t]+\S.*\n)*)*Subject:(.*(?:\n[ \t]+\S.*)*)"
)
_ENDS = tuple(".,;:。，；：")


def read(data: bytes, declared: str | None = None) -> Content:
    """Read a text file; the title is a short first line that was not wrapped and does not end a sentence.

    The title of a mail is its subject, unfolded and decoded (RFC 2047).

    `declared` is the charset of an HTTP header.

    Raises:
        UnreadableError: no encoding fits.
    """
    text = decode(data, declared)
    if mail := _SUBJECT.match(text.lstrip()):
        return Content(text, _subject(mail[1]) or None)
    first = paragraphs.unwrap(text.strip())[0].split("\n", 1)[0].strip()
    return Content(text, first if len(first) <= _LONGEST_TITLE and not first.endswith(_ENDS) else None)


def _subject(field: str) -> str:
    """Return the subject of a mail; a field with an unknown charset or invalid encoding is unchanged."""
    field = " ".join(field.split())
    try:
        return encodable(" ".join(str(make_header(decode_header(field))).split()))
    except (HeaderParseError, LookupError, ValueError):
        return field


def decode(data: bytes, declared: str | None = None) -> str:
    """Decode text by `charset.decode` and normalize line breaks to line feeds.

    Raises:
        UnreadableError: no encoding fits, or the text contains NUL characters.
    """
    text = charset.decode(data, (declared,))
    if "\0" in text:
        raise UnreadableError("not text")
    return paragraphs.line_feeds(text)
