"""Extractive answers: the clause of the evidence that contains the answer span, verbatim.

A model that answers with a clause of the text recalls what it was trained on, instead of guessing three words without
context: all questions about a clause train the same words, so questions about other parts of it are answered as well.
"""

import re

_LEAST = 5  # minimum words of a clause; a shorter one is not understandable on its own
_BOUNDARY = re.compile(
    r"(?<=[^\d\s])[,;:](?=\s)"  # but not a thousands separator (2,314)
    r"|(?<=\d)[,;](?=\s(?:and|but|which|who|where|when|so|though|because|as|in|with|at|the|a|an)\b)"
    r"|\s[–—-]\s|[，；：]"
)
_STOP = re.compile(r"[.!?。！？]$")


def clauses(sentence: str) -> list[tuple[int, int]]:
    """Return the (start, end) of each clause, without its final punctuation."""
    marks = list(_BOUNDARY.finditer(sentence))
    return list(
        zip([0, *(mark.end() for mark in marks)], [*(mark.start() for mark in marks), len(sentence)], strict=True)
    )


def pieces(sentence: str, most_words: int) -> list[tuple[int, int]]:
    """Return the (start, end) of a sentence or, if it has more than `most_words` words, of sequences of its clauses.

    Each sequence is as long as allowed; clauses that are too long, or too short on their own, are dropped.
    """
    found: list[tuple[int, int]] = []
    for start, end in clauses(sentence):
        if found and len(sentence[found[-1][0] : end].split()) <= most_words:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    if len(found) == 1 and len(sentence.split()) <= most_words:
        return found  # a whole sentence may be short
    trimmed = ((end - len(sentence[start:end].lstrip()), end) for start, end in found)
    return [(start, end) for start, end in trimmed if _LEAST <= len(sentence[start:end].split()) <= most_words]


def clause(sentence: str, span: str, most_words: int) -> str:
    """Return the shortest prefix of `sentence` that contains `span` and ends at a clause boundary.

    If the prefix exceeds `most_words` words, or the span is not found, return the span itself.
    """
    at = sentence.find(span)
    if at < 0:
        return span
    ends = (found.start() for found in _BOUNDARY.finditer(sentence, at + len(span)))
    end = next((end for end in ends if len(sentence[:end].split()) >= _LEAST), None)
    whole = sentence if end is None else sentence[:end] + ("。" if sentence.endswith("。") else ".")
    return whole if len(whole.split()) <= most_words and _STOP.search(whole) else span


def ended(text: str) -> str:
    """Return clauses with a full stop at the end, as a sentence."""
    return text if _STOP.search(text) else text.rstrip(" ,;:") + "."
