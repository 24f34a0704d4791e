"""Sliding windows of text, and the sentences in them that questions are generated for."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from transformers import PreTrainedTokenizerBase

from pipelines.synthesis.prompt_injection import is_prompt_injection
from pipelines.text.sentences import sentences


@dataclass(frozen=True)
class Sentence:
    """A sentence and its place in its document."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Window:
    """A passage for a teacher's prompt, and its new sentences, which are in no earlier window.

    `start` and `end` are its place in its document; `text` begins with the document's title.
    """

    text: str
    start: int
    end: int
    sentences: tuple[Sentence, ...]


def windows(text: str, title: str, tok: PreTrainedTokenizerBase, size: int, overlap: int) -> Iterator[Window]:
    """Yield windows of whole sentences; every sentence of `text` is new in exactly one of them.

    Windows are at most `size` tokens long (one sentence at least) and repeat at most `overlap` tokens of the one
    before. Each begins with the document's title, since a passage rarely states its topic. Prompt injections are left
    out.
    """
    spans = [(a, b) for a, b in sentences(text) if not is_prompt_injection(text[a:b])]
    texts = [text[a:b] for a, b in spans]
    tokens = tok(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []
    lengths = [len(ids) for ids in tokens]
    start = done = 0
    while done < len(spans):
        end, total = start, 0
        while end < len(spans) and (end <= done or total + lengths[end] <= size):
            total += lengths[end]
            end += 1
        new = tuple(Sentence(text[a:b], a, b) for a, b in spans[done:end])
        yield Window(f"{title}\n{_joined(text, spans[start:end])}", spans[start][0], spans[end - 1][1], new)
        done = start = end
        repeated = 0
        while start > 0 and repeated + lengths[start - 1] <= overlap:
            start -= 1
            repeated += lengths[start]


def _joined(text: str, spans: list[tuple[int, int]]) -> str:
    """Return the sentences with the white space between them; a space replaces sentences that were left out."""
    joined = text[spans[0][0] : spans[0][1]]
    for (_, before), (start, end) in pairwise(spans):
        gap = text[before:start]
        joined += (" " if gap.strip() else gap) + text[start:end]
    return joined
