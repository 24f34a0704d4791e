"""JSON objects in the prose of a model: behind fences, other brackets and a sentence before, whole or nearly right."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from json_repair import repair_json

from pipelines.text.encoding import encodable_value

_WHOLE, _REPAIRED = 100, 10  # opening braces that are tried

_DECODER = json.JSONDecoder(strict=False)  # models break lines within strings


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a text, inner ones too: first those that are valid JSON, in order, then repaired ones."""
    for at in islice(_braces(text), _WHOLE):
        try:
            value, _ = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        yield encodable_value(value)
    for at in islice(_braces(text), _REPAIRED):
        try:
            value = repair_json(text[at:], return_objects=True)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, list):  # prose after the object, or more objects
            value = next((each for each in value if isinstance(each, dict)), None)
        if isinstance(value, dict):
            yield encodable_value(value)


def _braces(text: str) -> Iterator[int]:
    at = text.find("{")
    while at >= 0:
        yield at
        at = text.find("{", at + 1)
