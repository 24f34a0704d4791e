"""What a chat is made of. Here, so that whoever handles chats need not import what computes with them."""

import re

Message = dict[str, str]
"""`{"role": ..., "content": ...}`"""

_ID = 8  # characters of a document's id in a source tag
_TAG = re.compile(r"\s*\bSource:\w+\s*$")


def with_source(text: str, document: str) -> str:
    """Return `text` ended by a source tag, which names a document by the beginning of its id."""
    return f"{text} Source:{document[:_ID]}"


def without_source(text: str) -> str:
    """Return `text` without the source tag that ends it."""
    return _TAG.sub("", text)
