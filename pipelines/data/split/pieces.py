"""A text in pieces that can be held out: paragraphs; of a long paragraph its lines, of a long line its sentences."""

import re
from itertools import pairwise

from pipelines.text.sentences import sentences

_PARAGRAPH = re.compile(r"(?<=\n\n)(?!\n)")
_LINE = re.compile(r"(?<=\n)(?!\n)")


def pieces(text: str, longest: int) -> list[str]:
    """Return the pieces of a text, of which it is put together again; only a sentence is longer than `longest`."""
    found: list[str] = []
    for paragraph in _PARAGRAPH.split(text):
        for line in _LINE.split(paragraph) if len(paragraph) > longest else [paragraph]:
            found += _sentences(line) if len(line) > longest else [line]
    return [piece for piece in found if piece]


def _sentences(line: str) -> list[str]:
    """Return the sentences of a line, each with the space behind it."""
    starts = [0, *(start for start, _ in sentences(line)[1:]), len(line)]
    return [line[start:end] for start, end in pairwise(starts)]
