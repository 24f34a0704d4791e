"""Extractive answers: the clause of the evidence that contains the answer span, verbatim.

A model that answers with a clause of the text recalls what it was trained on, instead of guessing three words without
context: all questions about a clause train the same words, so questions about other parts of it are answered as well.
"""

import re
from collections.abc import Iterator

from pipelines.text.layout import CELL_SEPARATOR, EMPTY_CELL, cells
from pipelines.text.sentences import CLOSING_MARKS

_LEAST = 5  # minimum words of a clause; a shorter one is not understandable on its own
_BOUNDARY = re.compile(
    r"(?<=[^\d\s])[,;:](?=\s)"  # but not a thousands separator (2,314)
    r"|(?<=\d)[,;](?=\s(?:and|but|which|who|where|when|so|though|because|as|in|with|at|the|a|an)\b)"
    r"|(?<!\|)\s[–—-]\s|[，；：]"  # nor an empty cell
)
_JOINING = (
    "and|but|or|nor|so|which|who|whom|whose|where|when|while|because|as|though|although|if|until|unless|since|after|"
    "before|then|once|whereas"
)
_ITEM = rf"\s(?!(?:{_JOINING})\b)(?:[\w'’-]+\s){{0,3}}[\w'’-]+"
_ENUMERATION = re.compile(rf",(?:{_ITEM},){{0,20}}{_ITEM},?\s(?:and|or)\s")  # bounded, for linear time
_SUBORDINATE = re.compile(
    r"(?:When|Whenever|If|Because|Although|Though|While|After|Before|Since|As|Unless|Until|Once|Where)\b"
)
_CONJUNCTION = re.compile(rf"\b(?:{_JOINING})$")
_LONGEST_CONJUNCTION = 10  # characters
_STOP = re.compile(rf"[.!?…。！？][{re.escape(CLOSING_MARKS)}]*$")


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
    """Return the shortest prefix of `sentence` that contains `span`, ends at a clause boundary and is complete.

    A complete prefix does not end within an enumeration or brackets, nor after a subordinate clause alone. The answer
    of a table row is its first filled cell with the cell of the span: `Annual leave: 27.`

    If the answer exceeds `most_words` words, or the span is not found, return the span itself.
    """
    at = sentence.find(span)
    if at < 0:
        return span
    whole = _row_answer(sentence, span) if CELL_SEPARATOR in sentence else _prefix(sentence, at + len(span))
    return whole if len(whole.split()) <= most_words and _STOP.search(whole) else span


def _prefix(sentence: str, least: int) -> str:
    """Return the shortest complete prefix of at least `least` characters."""
    for end in _clause_ends(sentence):
        prefix = sentence[:end]
        if end >= least and len(prefix.split()) >= _LEAST and _is_balanced(prefix):
            return prefix + ("。" if sentence.endswith("。") else ".")
    whole = ended(sentence) if sentence[-1].isalnum() else sentence  # a list item may have no full stop
    return whole if _is_balanced(whole) else whole.strip('"“”«»')  # speech of several sentences


def _clause_ends(sentence: str) -> Iterator[int]:
    """Yield the ends of clauses, except in enumerations, after conjunctions and after a subordinate clause alone.

    A subordinate clause stands at the beginning ("If it rains, …") or after a conjunction ("…, but, when dry, …").
    """
    enumerations = [found.span() for found in _ENUMERATION.finditer(sentence)]
    is_subordinate = _SUBORDINATE.match(sentence) is not None
    for boundary in _BOUNDARY.finditer(sentence):
        end = boundary.start()
        is_conjunction = _CONJUNCTION.search(sentence, max(0, end - _LONGEST_CONJUNCTION), end) is not None
        if not (is_subordinate or is_conjunction or any(first <= end < last for first, last in enumerations)):
            yield end
        is_subordinate = is_conjunction


def _is_balanced(text: str) -> bool:
    return all(text.count(opening) == text.count(closing) for opening, closing in ("()", "[]", "“”", "«»")) and (
        text.count('"') % 2 == 0
    )


def _row_answer(row: str, span: str) -> str:
    first, *others = [cell for cell in cells(row) if cell not in ("", EMPTY_CELL)] or [row]
    if not others:
        return ended(first)
    with_span = [cell for cell in others if span in cell] or others
    return ended(f"{first}: {', '.join(with_span[:1] if span not in first else others)}")


def ended(text: str) -> str:
    """Return clauses with a full stop at the end, as a sentence."""
    return text if _STOP.search(text) else text.rstrip(" ,;:") + "."
