"""Cues: what a sentence is about, in a few of its own words, as somebody would type who searches for it.

A teacher asks about part of a corpus, and each fact once. A small model then knows that question and no other. A cue
costs nothing, exists for every sentence that states something, and is worded anew at each showing, so that a model
learns to find what was said from whichever words it is asked with. Questions are worded anew too, by leaving words out.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.artifacts import Row
from pipelines.synthesis.sentences import sentences
from pipelines.synthesis.spans import propose

_ASKING = {
    "name": ("Who", "What", "Where", "Which", "Whose"),
    "date": ("When", "In what year", "On what date"),
    "number": ("How many", "How much", "How long", "How"),
    "cause": ("Why", "What was the reason"),
    "purpose": ("Why", "What for"),
}
_WORD = re.compile(r"[\w'’-]+")
EMPTY = frozenset(
    re.findall(
        r"\w+",
        """a about all an and any are as at be been but by can could did do does down each every for from had
        has have he her here his how i if in into is it its may might must my no nor not of off on one onto
        or our out over she should so some than that the their then there these they this those to under up
        upon was we were what when where which who whom whose why will with would you your""",
    )
)
_KEPT = 0.65  # share of a sentence's words that a cue repeats
_MOST = 9  # words in a cue
_IN_ORDER = 0.6  # share of cues whose words stand as in the sentence
_ASKED = 0.8  # share of cues that begin as a question does
_THINNED = 0.3  # share of a question's words that are left out
_SPANS = 4


@dataclass(frozen=True)
class Statement:
    """A sentence that says something, where it stands, and the spans in it that could be asked for."""

    source: str
    title: str
    text: str
    start: int
    spans: tuple[tuple[str, str], ...]
    """(span, kind)"""


def statements(documents: Sequence[Row], max_span_words: int, max_words: int) -> list[Statement]:
    """Return every different sentence of at most `max_words` words with a span in it that a cue can ask for."""
    found: dict[str, Statement] = {}
    for document in documents:
        for start, end in sentences(document["text"]):
            text = document["text"][start:end]
            if text in found or text[-1].isalnum() or len(text.split()) > max_words:
                continue  # a heading states nothing
            spans = tuple(pair for pair in propose(text, _SPANS, max_span_words) if pair[1] in _ASKING)
            if spans:
                found[text] = Statement(document["id"], document["title"] or "", text, start, spans)
    return list(found.values())


def cues(statement: Statement, count: int, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield up to `count` pairs of a cue and the span it asks for; none where there are too few words to go by."""
    for _ in range(count):
        span, kind = rng.choice(statement.spans)
        words = _telling(statement.text.replace(span, " ", 1))
        if len(words) < 3:
            words += _telling(statement.title)
        if len(words) < 2:
            continue
        kept = ([word for word in words if rng.random() < _KEPT] or words)[:_MOST]
        kept = kept if len(kept) > 1 else words[:_SPANS]
        if rng.random() > _IN_ORDER:
            rng.shuffle(kept)
        cue = " ".join(kept)
        yield (f"{rng.choice(_ASKING[kind])} {cue}?" if rng.random() < _ASKED else cue), span


def thin(question: str, rng: random.Random) -> str:
    """Return `question` without some of its words; its first stays, and so does a question of few words."""
    words = question.split()
    kept = words[:1] + [word for word in words[1:] if rng.random() > _THINNED]
    return " ".join(kept) if len(kept) > 2 else question


def _telling(text: str) -> list[str]:
    """Return the words of `text` that carry meaning."""
    return [word for word in _WORD.findall(text) if word.casefold() not in EMPTY]
