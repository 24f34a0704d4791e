"""The planner: which span of which sentence is asked about next, so that every sentence gets a question.

First the best span of every sentence; then, where no question was kept, the next best; what is left of the budget goes
to second questions about sentences that have one.
"""

import re
import string
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from pipelines.artifacts import Row
from pipelines.synthesis import spans, unanswerable
from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.recipes import Recipe
from pipelines.synthesis.windows import Window, windows

_SMALL = re.compile(r"\b[a-z]+\b")
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
        title = document["title"] or ""
        title = string.capwords(title) if title.isupper() else title
        language = "zh" if document["language"] == "zh" else "en"
        found += [
            Passage(document["id"], language, window) for window in windows(document["text"], title, tok, size, overlap)
        ]
    return found


def plan(
    found: Sequence[Passage], recipe: Recipe, kinds: Sequence[str], most: int, max_words: int
) -> list[list[Candidate]]:
    """Return for every sentence that states something its spans of these `kinds`, the best first, at most `most`.

    Names, numbers, dates, causes and purposes come before looser clauses, rare names before others; what the corpus,
    the document or the sentence is about comes last, since knowing it tells little. A word that the corpus also writes
    small is no name, whatever it begins. Sentences whose best span is good come first.
    """
    texts = [sentence.text for passage in found for sentence in passage.window.sentences]
    known = unanswerable.names(texts)
    common = {word for text in texts for word in _SMALL.findall(text)}

    def named(span: str, sentence: str) -> bool:
        first = sentence.startswith(span) and " " not in span  # any word is written large there
        return span.casefold() not in common and (not first or known[span] > 0)

    def late(pair: tuple[str, str], sentence: str, title: str) -> int:
        span, kind = pair
        topic = kind == "name" and (known[span] > _TOPIC or span in title)
        return (kind in _VAGUE) + topic + (kind == "name" and sentence.find(span) < _BEGINNING)

    planned: list[tuple[int, list[Candidate]]] = []
    for passage in found:
        title = passage.window.text.split("\n", 1)[0]
        for sentence in passage.window.sentences:
            if sentence.text[-1].isalnum():
                continue  # a heading states nothing
            proposed = [pair for pair in spans.propose(sentence.text, _PROPOSED, max_words) if pair[1] in kinds]
            worth = [(span, kind) for span, kind in proposed if kind != "name" or named(span, sentence.text)]
            good = [pair for pair in worth if not late(pair, sentence.text, title)]
            worth = good or [pair for pair in worth if late(pair, sentence.text, title) < _HOPELESS]
            worth = sorted(worth, key=lambda pair: (late(pair, sentence.text, title), known[pair[0]]))[:most]
            if not worth:
                continue
            candidates = []
            for span, kind in worth:
                start = sentence.start + sentence.text.index(span)
                candidates.append(
                    Candidate(
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
                )
            planned.append((late(worth[0], sentence.text, title), candidates))
    planned.sort(key=lambda pair: pair[0])
    return [candidates for _, candidates in planned]


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
