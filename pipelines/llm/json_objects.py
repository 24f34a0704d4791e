"""Extraction of JSON objects, valid or repairable, from a model's prose, code fences and other brackets."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from json_repair import repair_json

from pipelines.text.encoding import encodable_value

_WHOLE, _REPAIRED = 100, 10  # opening braces tried for valid and for repaired objects

_DECODER = json.JSONDecoder(strict=False)  # models put raw line breaks in strings


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects in a text, nested ones included: first the valid ones in order, then repaired ones."""
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
        if isinstance(value, list):  # the object is followed by prose or by other objects
            value = next((each for each in value if isinstance(each, dict)), None)
        if isinstance(value, dict):
            yield encodable_value(value)


def _braces(text: str) -> Iterator[int]:
    at = text.find("{")
    while at >= 0:
        yield at
        at = text.find("{", at + 1)
