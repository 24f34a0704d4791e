"""Sliding windows of text, and the sentences in them that questions are generated for."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from transformers import PreTrainedTokenizerBase

from pipelines.data.statements import Sentence, document_sentences
from pipelines.synthesis.prompt_injection import is_prompt_injection
from pipelines.text.layout import LIST_MARKER

_GAP = re.compile(rf"\s*(?:{LIST_MARKER.pattern})?")


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
    kept = [each for each in document_sentences(text) if not is_prompt_injection(each.text)]
    texts = [each.text for each in kept]
    tokens = tok(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []
    lengths = [len(ids) for ids in tokens]
    start = done = 0
    while done < len(kept):
        end, total = start, 0
        while end < len(kept) and (end <= done or total + lengths[end] <= size):
            total += lengths[end]
            end += 1
        joined = _joined(text, kept[start:end])
        yield Window(f"{title}\n{joined}", kept[start].start, kept[end - 1].end, tuple(kept[done:end]))
        done = start = end
        repeated = 0
        while start > 0 and repeated + lengths[start - 1] <= overlap:
            start -= 1
            repeated += lengths[start]


def _joined(text: str, sentences: Sequence[Sentence]) -> str:
    """Return the sentences with the white space and list markers between them; a space replaces left-out sentences."""
    joined = sentences[0].text
    for before, sentence in pairwise(sentences):
        gap = text[before.end : sentence.start]
        joined += (gap if _GAP.fullmatch(gap) else " ") + sentence.text
    return joined
