"""External text: lone surrogates are replaced, and JSON is parsed, before anything is stored.

A lone surrogate (half of a UTF-16 pair, which JSON, YAML, PDF titles and file names can contain) raises
UnicodeEncodeError when it is written. Every external string passes through `encodable` once, at the input boundary.
"""

import json
import re
from collections.abc import Callable
from typing import Any

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def encodable(text: str) -> str:
    """Return `text` with surrogate pairs joined and lone surrogates replaced by U+FFFD; any other text unchanged."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def encodable_value(value: Any) -> Any:
    """Apply `encodable` to every string, keys included, in a value from JSON, YAML or a document parser."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, list | tuple):
        return type(value)(map(encodable_value, value))
    if isinstance(value, dict):
        return {encodable_value(key): encodable_value(each) for key, each in value.items()}
    return value


def parse_json(raw: str | bytes, parse_int: Callable[[str], Any] | None = None) -> Any:
    """Parse JSON and make its strings encodable.

    Bytes are UTF-8, UTF-16 or UTF-32, with or without a byte order mark (RFC 4627, section 3). `parse_int` is passed to
    `json.loads`, which by default rejects numbers of more than 4,300 digits.

    Raises:
        ValueError: the input is not JSON or not in one of these encodings, is nested too deeply, or has too long a
            number.
    """
    if isinstance(raw, bytes):
        raw = raw.decode(json.detect_encoding(raw))
    try:
        value = json.loads(raw.removeprefix("\ufeff"), parse_int=parse_int)
        return encodable_value(value) if _SURROGATE_ESCAPE.search(raw) or encodable(raw) is not raw else value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
