"""Sentence segmentation."""

import re

_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9£$€])|(?<=[。！？])")
_TITLE = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|Capt|Col|Rev|Sr|Jr|No|Vol|Fig|vs|etc|e\.g|i\.e|[A-Z])\.$")


def sentences(text: str) -> list[tuple[int, int]]:
    """Return the (start, end) of each sentence; a line break also ends a sentence, an abbreviation does not."""
    spans: list[tuple[int, int]] = []
    for line in re.finditer(r"[^\n]+", text):
        start = line.start()
        for gap in _END.finditer(line.group()):
            end = line.start() + gap.start()
            if _TITLE.search(text[start:end]):
                continue
            spans.append((start, end))
            start = line.start() + gap.end()
        spans.append((start, line.end()))
    return [(start, end) for start, end in spans if text[start:end].strip()]
