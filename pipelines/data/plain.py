"""Plain text files in any common encoding."""

import charset_normalizer

from pipelines.data import paragraphs
from pipelines.data.documents import Content, UnreadableError

_LONGEST_TITLE = 120
_ENDS = tuple(".,;:。，；：")


def read(data: bytes) -> Content:
    """Read a text file; its title is a short first line that no sentence ends and no margin broke.

    Raises:
        UnreadableError: no encoding fits.
    """
    text = decode(data)
    first = paragraphs.unwrap(text.strip())[0].split("\n", 1)[0].strip()
    return Content(text, first if len(first) <= _LONGEST_TITLE and not first.endswith(_ENDS) else None)


def decode(data: bytes) -> str:
    """Decode bytes: UTF-8 where it fits, else what charset-normalizer finds.

    Where Windows-1252 is as clean as the winner, it wins: it is by far the commonest of the one-byte
    encodings, which differ in a few characters that short texts hardly show.

    Raises:
        UnreadableError: no encoding fits.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        matches = charset_normalizer.from_bytes(data)
        best = matches.best()
        if best is None:
            raise UnreadableError("unknown encoding")
        common = [match for match in matches if match.encoding == "cp1252" and match.chaos <= best.chaos]
        text = str(common[0] if common else best)
    if "\0" in text:
        raise UnreadableError("not text")
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
