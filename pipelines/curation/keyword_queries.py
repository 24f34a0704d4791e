"""Cues: what a sentence is about, in a few of its own words, as somebody would type who searches for it.

A teacher asks about part of a corpus, and each fact once. A small model then knows that question and no other. A cue
costs nothing, exists for every sentence that states something, and is worded anew at each showing, so that a model
learns to find what was said from whichever words it is asked with. Questions are worded anew too, by leaving words out.

Prose is full of sentences without a name, a number, a date, a cause or a purpose. Of those the ends of clauses are
asked for: what is new stands there. So is the end of the first clause of other sentences: "The emblem of Byfold School
is a heron" names the school and tells of the heron.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.artifacts import Row
from pipelines.synthesis.spans import propose
from pipelines.text.clauses import clauses, pieces
from pipelines.text.names import Names
from pipelines.text.sentences import sentences
from pipelines.text.stopwords import STOP_WORDS

_END = "end"
_ASKING = {
    "name": ("Who", "What", "Where", "Which", "Whose"),
    "date": ("When", "In what year", "On what date"),
    "number": ("How many", "How much", "How long", "How"),
    "cause": ("Why", "What was the reason"),
    "purpose": ("Why", "What for"),
    _END: ("What", "How", "Which"),
}
_WORD = re.compile(r"[\w'’-]+")
_KEPT = 0.65  # share of a sentence's words that a cue repeats
_MOST = 9  # words in a cue
_IN_ORDER = 0.6  # share of cues whose words stand as in the sentence
_ASKED = 0.8  # share of cues that begin as a question does
_THINNED = 0.3  # share of a question's words that are left out
_SPANS = 4
_LONGEST_END = 3  # words


@dataclass(frozen=True)
class Statement:
    """A sentence, or clauses of a long one, that says something, where it stands, and what could be asked for."""

    source: str
    title: str
    text: str
    start: int
    spans: tuple[tuple[str, str], ...]
    """(span, kind)"""
    plain: bool
    """Whether nothing in it looks like a fact."""


def statements(documents: Sequence[Row], max_span_words: int, max_words: int) -> list[Statement]:
    """Return every different sentence with a span in it that a cue can ask for; of one too long its clauses."""
    places = [(document, *place) for document in documents for place in sentences(document["text"])]
    names = Names.of([document["text"][start:end] for document, start, end in places])
    found: dict[str, Statement] = {}
    for document, start, end in places:
        whole = document["text"][start:end]
        for first, last in pieces(whole, max_words) if not whole[-1].isalnum() else ():  # a heading states nothing
            text = whole[first:last]
            facts = [pair for pair in propose(text, _SPANS, max_span_words) if pair[1] in _ASKING]
            real = [(span, kind) for span, kind in facts if kind != "name" or names.has(span, text)]
            ends = [end for end in _ends(text)[: 1 if real else None] if not _known(end[0], real)]
            if text not in found and (real or ends):
                place = document["id"], document["title"] or "", text, start + first
                found[text] = Statement(*place, (*real, *ends), plain=not facts)
    return list(found.values())


def _known(end: str, spans: Sequence[tuple[str, str]]) -> bool:
    return any(end in span or span in end for span, _ in spans)


def _ends(text: str) -> list[tuple[str, str]]:
    """Return the last telling words of each clause, with their kind."""
    found = []
    for start, end in clauses(text):
        last: list[re.Match[str]] = []
        for word in reversed(list(_WORD.finditer(text, start, end))):
            apart = last and text[word.end() : last[-1].start()] != " "
            if word.group().casefold() in STOP_WORDS or apart or len(last) == _LONGEST_END:
                break
            last.append(word)
        if last:
            found.append((text[last[-1].start() : last[0].end()], _END))
    return found


def keyword_queries(statement: Statement, count: int, rng: random.Random) -> Iterator[tuple[str, str]]:
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


def drop_words(question: str, rng: random.Random) -> str:
    """Return `question` without some of its words; its first stays, and so does a question of few words."""
    words = question.split()
    kept = words[:1] + [word for word in words[1:] if rng.random() > _THINNED]
    return " ".join(kept) if len(kept) > 2 else question


def _telling(text: str) -> list[str]:
    """Return the words of `text` that carry meaning."""
    return [word for word in _WORD.findall(text) if word.casefold() not in STOP_WORDS]
