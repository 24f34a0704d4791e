"""Split documents into passages of a few sentences. Reads and writes nothing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipelines.artifacts import Row
from pipelines.text.sentences import sentences

MAX_SENTENCE = 500
"""Characters beyond which a sentence is cut, so that a passage stays short in text without full stops."""


@dataclass(frozen=True)
class Passage:
    """Consecutive sentences of one document."""

    source: str
    title: str
    text: str
    """The sentences as written, with the white space between them."""


def passages(documents: Iterable[Row], size: int) -> Iterator[Passage]:
    """Yield each document's passages of `size` sentences; each repeats half of the previous one.

    With the overlap, `size // 2 + 1` consecutive sentences are always together in some passage. `documents` are rows of
    artifacts/split/*.parquet.
    """
    step = max(1, size - size // 2)
    for document in documents:
        text, spans = document["text"], list(_spans(document["text"]))
        for first in range(0, max(1, len(spans) - size + step), step):
            if part := spans[first : first + size]:
                yield Passage(document["source"], document.get("title") or "", text[part[0][0] : part[-1][1]])


def _spans(text: str) -> Iterator[tuple[int, int]]:
    for start, end in sentences(text):
        yield from ((at, min(at + MAX_SENTENCE, end)) for at in range(start, end, MAX_SENTENCE))
