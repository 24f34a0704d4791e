"""Chat messages, in a module without heavy imports."""

import re

Message = dict[str, str]
"""`{"role": ..., "content": ...}`"""

_ID = 8  # characters of a document's id in a source tag
_TAG = re.compile(r"\s*\bSource:\w+\s*$")


def with_source(text: str, document: str) -> str:
    """Append a source tag, which names a document by the first characters of its id."""
    return f"{text} Source:{document[:_ID]}"


def without_source(text: str) -> str:
    """Remove the source tag at the end of `text`."""
    return _TAG.sub("", text)
