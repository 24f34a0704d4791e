"""The passage for a pair of answers: the source document of its question, with the most relevant sentence marked.

Reads artifacts/split/. A pair without a source document, or with a missing one, has no passage.
"""

import re
from pathlib import Path

from pipelines import artifacts
from pipelines.artifacts import Row

SPLIT = artifacts.ARTIFACTS / "split"
AROUND = 1200  # characters shown before and after the marked sentence
SENTENCE = re.compile(r"[^.!?\n]+[.!?]*\s*")


def documents(folder: Path = SPLIT) -> dict[str, Row]:
    """Return the documents of all splits by id; empty when the stage has not run."""
    return {row["id"]: row for path in sorted(folder.glob("*.parquet")) for row in artifacts.read_table(path)}


def passage(document: Row | None, words: str) -> Row | None:
    """Return `name` and the text `before`, `marked` (the sentence with most words of `words`) and `after`."""
    if document is None:
        return None
    text: str = document["text"]
    wanted = _words(words)
    sentences = list(SENTENCE.finditer(text))
    best = max(sentences, key=lambda found: len(wanted & _words(found[0])), default=None)
    start, end = best.span() if best is not None and wanted & _words(best[0]) else (0, 0)
    return {
        "name": document.get("title") or document["source"],
        "before": text[max(0, start - AROUND) : start],
        "marked": text[start:end],
        "after": text[end : end + AROUND],
    }


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w{3,}", text.lower()))
