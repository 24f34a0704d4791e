"""Sliding windows of text, and the sentences in them that questions are asked about."""

from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from pipelines.synthesis.sentences import sentences


@dataclass(frozen=True)
class Sentence:
    """A sentence, its place in its document, and the window that a question about it may draw on."""

    text: str
    start: int
    end: int
    window: str


def windows(text: str, title: str, tok: PreTrainedTokenizerBase, size: int, overlap: int) -> Iterator[Sentence]:
    """Yield every sentence of `text` once, in the first window of whole sentences that holds it.

    Windows are at most `size` tokens long (one sentence at least) and repeat about `overlap` tokens of the one before.
    Each begins with the document's title, since a passage rarely says what it is about.
    """
    spans = sentences(text)
    lengths = (
        [len(ids) for ids in tok([text[a:b] for a, b in spans], add_special_tokens=False)["input_ids"]] if spans else []
    )
    start = done = 0
    while done < len(spans):
        end, total = start, 0
        while end < len(spans) and (end <= done or total + lengths[end] <= size):
            total += lengths[end]
            end += 1
        window = f"{title}\n{text[spans[start][0] : spans[end - 1][1]]}"
        for index in range(done, end):
            a, b = spans[index]
            yield Sentence(text[a:b], a, b, window)
        done = start = end
        repeated = 0
        while start > 0 and repeated + lengths[start - 1] <= overlap:
            start -= 1
            repeated += lengths[start]
