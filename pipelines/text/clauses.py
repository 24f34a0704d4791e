"""The answer that a question is given: the clause of its evidence that holds the span, word for word.

A model that answers in the words of the text recalls what it has read, instead of guessing three words out of nothing:
every question about a clause teaches the same words, and a question about another part of it is answered as well.
"""

import re

_LEAST = 5  # words; a shorter beginning says too little to be understood alone
_BOUNDARY = re.compile(
    r"(?<=[^\d\s])[,;:](?=\s)"  # not the comma of 2,314
    r"|(?<=\d)[,;](?=\s(?:and|but|which|who|where|when|so|though|because|as|in|with|at|the|a|an)\b)"
    r"|\s[–—-]\s|[，；：]"
)
_STOP = re.compile(r"[.!?。！？]$")


def clauses(sentence: str) -> list[tuple[int, int]]:
    """Return the (start, end) of each clause, without the mark that ends it."""
    marks = list(_BOUNDARY.finditer(sentence))
    return list(
        zip([0, *(mark.end() for mark in marks)], [*(mark.start() for mark in marks), len(sentence)], strict=True)
    )


def pieces(sentence: str, most_words: int) -> list[tuple[int, int]]:
    """Return the (start, end) of a sentence or, where it has more than `most_words` words, of runs of its clauses.

    Each run is as long as it may be; what cannot be cut short enough, or says too little alone, is left out.
    """
    found: list[tuple[int, int]] = []
    for start, end in clauses(sentence):
        if found and len(sentence[found[-1][0] : end].split()) <= most_words:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    if len(found) == 1 and len(sentence.split()) <= most_words:
        return found  # whole, however short
    trimmed = ((end - len(sentence[start:end].lstrip()), end) for start, end in found)
    return [(start, end) for start, end in trimmed if _LEAST <= len(sentence[start:end].split()) <= most_words]


def clause(sentence: str, span: str, most_words: int) -> str:
    """Return the shortest beginning of `sentence` that holds `span` and ends where a clause does.

    When that is longer than `most_words`, or the span is not there, the span alone is the answer.
    """
    at = sentence.find(span)
    if at < 0:
        return span
    ends = (found.start() for found in _BOUNDARY.finditer(sentence, at + len(span)))
    end = next((end for end in ends if len(sentence[:end].split()) >= _LEAST), None)
    whole = sentence if end is None else sentence[:end] + ("。" if sentence.endswith("。") else ".")
    return whole if len(whole.split()) <= most_words and _STOP.search(whole) else span


def ended(text: str) -> str:
    """Return clauses of a sentence as one: with a full stop."""
    return text if _STOP.search(text) else text.rstrip(" ,;:") + "."
