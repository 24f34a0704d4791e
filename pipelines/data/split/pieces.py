"""Divide a text into units for the hold-out: paragraphs, the lines of long paragraphs, the sentences of long lines."""

import re
from itertools import pairwise

from pipelines.text.sentences import sentences

_PARAGRAPH = re.compile(r"(?<=\n\n)(?!\n)")
_LINE = re.compile(r"(?<=\n)(?!\n)")


def pieces(text: str, longest: int) -> list[str]:
    """Return the pieces of a text, whose concatenation is the text; only a sentence may exceed `longest` characters."""
    found: list[str] = []
    for paragraph in _PARAGRAPH.split(text):
        for line in _LINE.split(paragraph) if len(paragraph) > longest else [paragraph]:
            found += _sentences(line) if len(line) > longest else [line]
    return [piece for piece in found if piece]


def _sentences(line: str) -> list[str]:
    """Return the sentences of a line, each with its trailing whitespace."""
    starts = [0, *(start for start, _ in sentences(line)[1:]), len(line)]
    return [line[start:end] for start, end in pairwise(starts)]
