"""Keyword queries: a few content words of a sentence, as a user would type them into a search box.

A teacher asks about part of a corpus, and about each fact once; a small model then knows that one question. Keyword
queries need no teacher, exist for every sentence that states something, and differ in every variant, so that the model
learns to retrieve a statement from any of its words. Questions get variants as well, by word dropout.

Much of prose has no name, number, date, cause or purpose. In such sentences, queries ask for the ends of clauses, where
new information usually is; in other sentences, for the end of the first clause as well: "The emblem of Byfold School is
a heron" has a name, but its information is the heron.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.artifacts import Row
from pipelines.data.statements import document_sentences
from pipelines.synthesis.prompt_injection import is_prompt_injection
from pipelines.synthesis.spans import propose
from pipelines.text.clauses import clauses, pieces
from pipelines.text.layout import cells
from pipelines.text.names import Names
from pipelines.text.stopwords import STOP_WORDS
from pipelines.text.words import UNSPACED

_END = "end"
_QUESTION_WORDS = {
    "name": ("Who", "What", "Where", "Which", "Whose"),
    "date": ("When", "In what year", "On what date"),
    "number": ("How many", "How much", "How long", "How"),
    "cause": ("Why", "What was the reason"),
    "purpose": ("Why", "What for"),
    _END: ("What", "How", "Which"),
}
_WORD = re.compile(rf"\d+(?:[.,:]\d+)+|{UNSPACED}{{1,2}}|(?:(?!{UNSPACED})[^\W_])(?:(?!{UNSPACED})[\w'’-])*")
_MAX_KEYWORDS = 9
_ORDERED_RATE = 0.6  # fraction of queries with the words in the order of the sentence
_QUESTION_RATE = 0.8  # fraction of English queries that begin with a question word
_MAX_SPANS = 4  # maximum spans of a sentence, and words of a query from which dropout left fewer than two
_MAX_END_WORDS = 3  # maximum words of a span at the end of a clause


@dataclass(frozen=True)
class Statement:
    """A sentence, or clauses of a long one, that states something: its text, place and answer spans."""

    source: str
    title: str
    language: str
    header: str
    """The header of the table whose row it is."""
    text: str
    start: int
    spans: tuple[tuple[str, str], ...]
    """(span, kind)"""
    plain: bool
    """Whether it has no name, number, date, cause or purpose."""


def statements(documents: Sequence[Row], max_span_words: int, max_words: int) -> list[Statement]:
    """Return every distinct statement with an answer span; those of more than `max_words` are split by clause.

    Prompt injections are left out.
    """
    places = [(document, sentence) for document in documents for sentence in document_sentences(document["text"])]
    names = Names.of([sentence.text for _, sentence in places])
    statement_of: dict[str, Statement] = {}
    for document, sentence in places:
        if not sentence.is_statement or is_prompt_injection(sentence.text):
            continue
        for first, last in pieces(sentence.text, max_words):
            text = sentence.text[first:last]
            facts = [pair for pair in propose(text, _MAX_SPANS, max_span_words) if pair[1] in _QUESTION_WORDS]
            real = [(span, kind) for span, kind in facts if kind != "name" or names.has(span, text)]
            ends = [end for end in _ends(text)[: 1 if real else None] if not _overlaps(end[0], real)]
            if text not in statement_of and (real or ends):
                statement_of[text] = Statement(
                    source=document["id"],
                    title=document["title"] or "",
                    language=document["language"],
                    header=sentence.header,
                    text=text,
                    start=sentence.start + first,
                    spans=(*real, *ends),
                    plain=not facts,
                )
    return list(statement_of.values())


def _overlaps(end: str, spans: Sequence[tuple[str, str]]) -> bool:
    return any(end in span or span in end for span, _ in spans)


def _ends(text: str) -> list[tuple[str, str]]:
    """Return the last content words of each clause, as (span, kind)."""
    ends = []
    for start, end in clauses(text):
        last: list[re.Match[str]] = []
        for word in reversed(list(_WORD.finditer(text, start, end))):
            interrupted = last and text[word.end() : last[-1].start()] not in ("", " ")
            if word.group().casefold() in STOP_WORDS or interrupted or len(last) == _MAX_END_WORDS:
                break
            last.append(word)
        if last:
            ends.append((text[last[-1].start() : last[0].end()], _END))
    return ends


def keyword_queries(
    statement: Statement, count: int, keyword_rate: float, rng: random.Random
) -> Iterator[tuple[str, str]]:
    """Yield up to `count` pairs (keyword query, answer span); none if the sentence has too few content words."""
    for _ in range(count):
        span, kind = rng.choice(statement.spans)
        words = [*_content_words(_column(statement, span)), *_content_words(statement.text.replace(span, " ", 1))]
        if not any(character.isalpha() for word in words for character in word):
            continue  # a query of words of the title asks for nothing in particular
        title = _content_words(statement.title) if len(words) < 3 else []
        if len(words) + len(title) < 2:
            continue
        own = [word for word in words if rng.random() < keyword_rate] or words
        kept = (own + [word for word in title if rng.random() < keyword_rate])[:_MAX_KEYWORDS]
        kept = kept if len(kept) > 1 else (words + title)[:_MAX_SPANS]
        if rng.random() > _ORDERED_RATE:
            rng.shuffle(kept)
        query = " ".join(kept)
        asks = statement.language == "en" and rng.random() < _QUESTION_RATE
        yield (f"{rng.choice(_QUESTION_WORDS[kind])} {query}?" if asks else query), span


def _column(statement: Statement, span: str) -> str:
    """Return the header of the column that contains `span`, if the statement is a row of a table."""
    columns, values = cells(statement.header), cells(statement.text)
    return next((name for name, value in zip(columns, values, strict=False) if span in value), "")


def drop_words(question: str, word_dropout: float, rng: random.Random) -> str:
    """Return `question` after word dropout; the first word is kept, and questions of few words are unchanged."""
    words = question.split()
    kept = words[:1] + [word for word in words[1:] if rng.random() > word_dropout]
    return " ".join(kept) if len(kept) > 2 else question


def _content_words(text: str) -> list[str]:
    """Return the content words of `text`; in scripts without word separators, pairs of characters (bigrams)."""
    return [word for word in _WORD.findall(text) if word.casefold() not in STOP_WORDS]
