"""The planner: which span of which sentence is asked about next, so that every sentence gets a question.

First the best span of every sentence; then, where no question was kept, the next best; what is left of the budget goes
to second questions about sentences that have one.
"""

import string
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from pipelines.artifacts import Row
from pipelines.llm.prompts import Recipe
from pipelines.synthesis import spans
from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.windows import Sentence, Window, windows
from pipelines.text.names import Names

Span = tuple[str, str]
"""Words of a sentence, and of which kind they are."""

_VAGUE = ("definition", "condition")
_TOPIC = 12  # mentions from which a name is a topic rather than an answer
_PROPOSED = 8  # spans of a sentence, of which the best are asked for
_HOPELESS = 2  # a name that both the document and the sentence are about is no answer
_BEGINNING = 5  # characters; a name there is what the sentence is about rather than what it tells


@dataclass(frozen=True)
class Passage:
    """A window of a document."""

    source: str
    language: str
    window: Window


def passages(documents: Sequence[Row], tok: PreTrainedTokenizerBase, size: int, overlap: int) -> list[Passage]:
    """Return the windows of all documents, each at most `size` tokens."""
    found: list[Passage] = []
    for document in documents:
        title = heading(document["title"])
        language = "zh" if document["language"] == "zh" else "en"
        found += [
            Passage(document["id"], language, window) for window in windows(document["text"], title, tok, size, overlap)
        ]
    return found


def heading(title: str | None) -> str:
    """Return a document's title as it heads its windows: a shouted one in small letters, none as nothing."""
    return string.capwords(title) if title and title.isupper() else title or ""


def plan(
    found: Sequence[Passage], recipe: Recipe, kinds: Sequence[str], most: int, max_words: int, budget: int
) -> list[list[Candidate]]:
    """Return for every sentence that states something its spans of these `kinds`, the best first, at most `most`.

    Of more than `budget` sentences those with the best spans are taken, evenly over the text where they are as good: a
    long book is asked about from its beginning to its end.

    Names, numbers, dates, causes and purposes come before looser clauses, rare names before others; what the corpus,
    the document or the sentence is about is asked for only where nothing else is. A word that the corpus also writes
    small is no name, whatever it begins. Sentences whose best span is good come first.
    """
    corpus = Corpus.of([sentence.text for passage in found for sentence in passage.window.sentences])
    planned: list[tuple[int, list[Candidate]]] = []
    for passage in found:
        title = passage.window.text.split("\n", 1)[0]
        for sentence in passage.window.sentences:
            ranked = corpus.ranked(sentence.text, title, kinds, max_words)
            if ranked:
                candidates = [_candidate(recipe, passage, sentence, *pair) for _, pair in ranked[:most]]
                planned.append((ranked[0][0], candidates))
    planned.sort(key=lambda pair: pair[0])
    return [candidates for _, candidates in _within(planned, budget)]


def _within(planned: list[tuple[int, list[Candidate]]], budget: int) -> list[tuple[int, list[Candidate]]]:
    """Return `budget` of the sentences, which are sorted; of the last that are equally good, evenly spaced ones."""
    if len(planned) <= budget:
        return planned
    worst = planned[budget][0]
    better = [each for each in planned if each[0] < worst]
    equal = [each for each in planned if each[0] == worst]
    room = budget - len(better)
    return better + [equal[number * len(equal) // room] for number in range(room)]


@dataclass(frozen=True)
class Corpus:
    """What tells a span worth asking for, in a corpus of these names."""

    names: Names

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Corpus":
        """Count the names in sentences."""
        return cls(Names.of(texts))

    def ranked(self, sentence: str, title: str, kinds: Sequence[str], max_words: int) -> list[tuple[int, Span]]:
        """Return the spans of a sentence worth asking for, the best first, each with what speaks against it."""
        if sentence[-1].isalnum():
            return []  # a heading states nothing
        proposed = [pair for pair in spans.propose(sentence, _PROPOSED, max_words) if pair[1] in kinds]
        real = (pair for pair in proposed if pair[1] != "name" or self.names.has(pair[0], sentence))
        judged = [(self._late(pair, sentence, title), pair) for pair in real]
        good = [each for each in judged if each[0] == 0] or [each for each in judged if each[0] < _HOPELESS]
        return sorted(good, key=lambda each: (each[0], self.names.mentions[each[1][0]]))

    def _late(self, pair: Span, sentence: str, title: str) -> int:
        span, kind = pair
        topic = kind == "name" and (self.names.mentions[span] > _TOPIC or span in title)
        return (kind in _VAGUE) + topic + (kind == "name" and sentence.find(span) < _BEGINNING)


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
    """Ask in rounds until every sentence has a question or `budget` questions are written; yield all that was asked.

    `ask` writes and examines questions; it is given the spans and the attempt, from 0. A sentence whose spans have all
    failed is begun again, up to `attempts` times. Then covered sentences get their other spans asked, in that order.
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
