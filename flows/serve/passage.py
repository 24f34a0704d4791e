"""The passage for a question: its source document, with the evidence or the most relevant sentence marked.

Reads artifacts/split/. A question without a source document, or with a missing one, has no passage.
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


def passage(document: Row | None, words: str, sentence: str = "") -> Row | None:
    """Return `name` and the text `before`, `marked` and `after`.

    Marked is `sentence`, or, if the document does not contain it, the sentence with most words of `words`.
    """
    if document is None:
        return None
    text: str = document["text"]
    start, end = _place(text, sentence) or _closest(text, words)
    return {
        "name": document.get("title") or document["source"],
        "before": text[max(0, start - AROUND) : start],
        "marked": text[start:end],
        "after": text[end : end + AROUND],
    }


def _place(text: str, sentence: str) -> tuple[int, int] | None:
    start = text.find(sentence) if sentence else -1
    return (start, start + len(sentence)) if start >= 0 else None


def _closest(text: str, words: str) -> tuple[int, int]:
    wanted = _words(words)
    best = max(SENTENCE.finditer(text), key=lambda found: len(wanted & _words(found[0])), default=None)
    return best.span() if best is not None and wanted & _words(best[0]) else (0, 0)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w{3,}", text.lower()))
