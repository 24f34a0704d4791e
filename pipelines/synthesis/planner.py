"""The order in which answer spans are asked about, so that every sentence gets a question.

First the best span of every sentence, then the next best where no question was kept. The rest of the budget goes to
second questions about sentences that have one.
"""

import string
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from pipelines.artifacts import Row
from pipelines.data.statements import Sentence
from pipelines.llm.prompts import Recipe
from pipelines.synthesis import spans
from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.config import SynthesizeConfig
from pipelines.synthesis.windows import Window, windows
from pipelines.text.names import Names

Span = tuple[str, str]
"""(span, kind)"""

LANGUAGES = ("en", "zh")
"""Languages of the prompt templates; text in any other is asked about in English."""
_VAGUE_KINDS = ("definition", "condition")
# A name with more mentions in the corpus, and per sentence of it, is a topic rather than an answer.
_TOPIC_MENTIONS, _TOPIC_SHARE = 12, 0.005
_MAX_PROPOSED = 8  # maximum candidate spans of a sentence
_MAX_PENALTY = 2  # a name that is the topic of both document and sentence is not asked for
_TOPIC_POSITION = 5  # characters; a name that begins there is the topic of the sentence, not new information


@dataclass(frozen=True)
class Passage:
    """A window of a document, with the document's id and language."""

    source: str
    language: str
    window: Window


def passages(documents: Sequence[Row], tok: PreTrainedTokenizerBase, size: int, overlap: int) -> list[Passage]:
    """Return the windows of all documents, each at most `size` tokens."""
    windowed: list[Passage] = []
    for document in documents:
        title = heading(document["title"])
        language = document["language"] if document["language"] in LANGUAGES else LANGUAGES[0]
        windowed += [
            Passage(document["id"], language, window) for window in windows(document["text"], title, tok, size, overlap)
        ]
    return windowed


def heading(title: str | None) -> str:
    """Return the title above a document's windows: capitals become title case, a missing title is empty."""
    return string.capwords(title) if title and title.isupper() else title or ""


def plan(passages: Sequence[Passage], recipe: Recipe, config: SynthesizeConfig, budget: int) -> list[list[Candidate]]:
    """Return the spans of `config.kinds` of every statement, best first.

    A sentence has at most `config.spans_per_sentence`. Of more than `budget` sentences, the ones with the best spans
    are taken; ties are spaced evenly over the text, so that a long book is covered from beginning to end.

    Ranking: names, numbers, dates, causes and purposes before definitions and conditions; rare names before frequent
    ones; the topic of the corpus, the document or the sentence only if there is nothing else. A word that the corpus
    also writes in lower case is not a name. Sentences with a good best span come first.
    """
    corpus = Corpus.of([sentence.text for passage in passages for sentence in passage.window.sentences])
    planned: list[tuple[int, list[Candidate]]] = []
    for passage in passages:
        title = passage.window.text.split("\n", 1)[0]
        for sentence in passage.window.sentences:
            ranked = corpus.ranked(sentence.text, title, config) if sentence.is_statement else []
            if ranked:
                candidates = [
                    _candidate(recipe, passage, sentence, *pair) for _, pair in ranked[: config.spans_per_sentence]
                ]
                planned.append((ranked[0][0], candidates))
    planned.sort(key=lambda pair: pair[0])
    return [candidates for _, candidates in _within(planned, budget)]


def _within(planned: list[tuple[int, list[Candidate]]], budget: int) -> list[tuple[int, list[Candidate]]]:
    """Return the first `budget` of the sorted sentences; ties at the cut are sampled evenly."""
    if len(planned) <= budget:
        return planned
    worst = planned[budget][0]
    better = [each for each in planned if each[0] < worst]
    equal = [each for each in planned if each[0] == worst]
    room = budget - len(better)
    return better + [equal[number * len(equal) // room] for number in range(room)]


@dataclass(frozen=True)
class Corpus:
    """Ranks the spans of a sentence by the names of the whole corpus."""

    names: Names
    max_mentions: float
    """Mentions above which a name is a topic."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Corpus":
        """Count the names in sentences."""
        return cls(Names.of(texts), max(_TOPIC_MENTIONS, _TOPIC_SHARE * len(texts)))

    def ranked(self, sentence: str, title: str, config: SynthesizeConfig) -> list[tuple[int, Span]]:
        """Return (penalty, span) of the spans of a statement worth asking for, best first."""
        proposed = [
            pair for pair in spans.propose(sentence, _MAX_PROPOSED, config.max_span_words) if pair[1] in config.kinds
        ]
        proper = (pair for pair in proposed if pair[1] != "name" or self.names.has(pair[0], sentence))
        penalised = [(self._penalty(pair, sentence, title), pair) for pair in proper]
        good = [each for each in penalised if each[0] == 0] or [each for each in penalised if each[0] < _MAX_PENALTY]
        return sorted(good, key=lambda each: (each[0], self.names.mentions[each[1][0]]))

    def _penalty(self, pair: Span, sentence: str, title: str) -> int:
        span, kind = pair
        topic = kind == "name" and (self.names.mentions[span] > self.max_mentions or span in title)
        return (kind in _VAGUE_KINDS) + topic + (kind == "name" and sentence.find(span) < _TOPIC_POSITION)


def _candidate(recipe: Recipe, passage: Passage, sentence: Sentence, span: str, kind: str) -> Candidate:
    start = sentence.start + sentence.text.index(span)
    return Candidate(
        recipe=recipe.name,
        version=recipe.version,
        makes=recipe.makes,
        language=passage.language,
        source=passage.source,
        start=start,
        end=start + len(span),
        kind=kind,
        window=passage.window.text,
        sentence=sentence.text,
        answer=span,
    )


def rounds(
    planned: Sequence[Sequence[Candidate]],
    budget: int,
    attempts: int,
    ask: Callable[[list[Candidate], int], list[Candidate]],
) -> Iterator[Candidate]:
    """Ask in rounds until every sentence has a question or `budget` questions are written; yield all candidates.

    `ask` writes and validates questions, given the spans and the attempt, from 0. A sentence whose spans have all
    failed starts over, up to `attempts` times. Then the remaining spans of covered sentences are asked about.
    """
    covered: set[int] = set()
    asked: dict[int, int] = defaultdict(int)
    for attempt in range(attempts):
        for rank in range(max(map(len, planned), default=0)):
            due = [at for at, spans_ in enumerate(planned) if at not in covered and rank < len(spans_)][:budget]
            if due:
                budget -= len(due)
                answered = ask([planned[at][rank] for at in due], attempt)
                covered |= {at for at, each in zip(due, answered, strict=True) if each.reason is None}
                asked |= dict.fromkeys(due, rank + 1)
                yield from answered
    more = [(rank, at) for at in covered for rank in range(asked[at], len(planned[at]))]
    rest = [planned[at][rank] for rank, at in sorted(more)[:budget]]
    yield from ask(rest, 0) if rest else ()
