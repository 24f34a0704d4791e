"""Which passages the hand-written questions need in training, by their accepted answers and their content words.

A passage is evidence for a question when an accepted answer stands in it and a content word of the question in it or
beside it. The passage that shares most words with question and answer counts too: an answer may be worded otherwise.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines import artifacts
from pipelines.data import documents
from pipelines.data.documents import Document
from pipelines.data.split.pieces import pieces
from pipelines.runtime.errors import UserError
from pipelines.text.normalize import tokens
from pipelines.text.stopwords import STOP_WORDS

GENERAL = "general"
"""The file of questions that no document answers."""

Place = tuple[str, int]
"""A document's id and the number of one of its pieces."""


@dataclass(frozen=True)
class Asked:
    """A hand-written question."""

    file: str
    words: frozenset[str]
    """Its content words."""
    answers: tuple[tuple[str, ...], ...]
    """The tokens of its accepted answers."""
    sources: tuple[str, ...]
    """The documents that it names."""
    searched: bool
    """Whether its evidence is looked for in all documents, since it names none."""


@dataclass(frozen=True)
class Found:
    """What one document holds of a question's evidence: numbers of pieces."""

    near: frozenset[int]
    """With an accepted answer, and a content word there or in a neighbouring piece."""
    answered: frozenset[int]
    """With an accepted answer."""
    closest: frozenset[int]
    """With `shared` of the words of question and answer, more than any other piece."""
    shared: int


Row = tuple[int, str, Found]
"""A question's number, a document's id, and what was found."""


def questions(folder: Path) -> list[Asked]:
    """Return the hand-written questions of a folder, of which there may be none yet.

    Raises:
        UserError: `sources` is no list of paths.
    """
    return [_asked(row, path) for path in sorted(folder.glob("*.jsonl")) for row in artifacts.each_row(path)]


def _asked(row: artifacts.Row, path: Path) -> Asked:
    sources = row.get("sources") or []
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise UserError(f"{path}: 'sources' of question {row.get('id')!r} must be a list of file paths.")
    aliases = row.get("aliases")
    accepted = [row.get("answer"), *(aliases if isinstance(aliases, list) else [])]
    answers = [tuple(tokens(str(each))) for each in accepted if isinstance(each, str | int | float)]
    answers = [each for each in answers if each]
    searched = bool(answers) and not sources and path.stem != GENERAL
    return Asked(str(path), content(tokens(str(row.get("question", "")))), tuple(answers), tuple(sources), searched)


def content(words: Iterable[str]) -> frozenset[str]:
    """Return the words that are no stop words."""
    return frozenset(words) - STOP_WORDS


def search(shard: Path, asked: Sequence[Asked], named: Mapping[str, Sequence[int]], longest: int) -> list[Row]:
    """Return what the documents of a shard hold of the evidence of each question that may concern them.

    `named` has, by document, the questions that name it; questions that name none are looked for in every document.
    """
    everywhere = [number for number, each in enumerate(asked) if each.searched]
    rows: list[Row] = []
    for document in documents.read(shard):
        concerned = [*named.get(document.id, ()), *everywhere]
        rows += _searched(document, asked, concerned, longest) if concerned else []
    return rows


def _searched(document: Document, asked: Sequence[Asked], concerned: Sequence[int], longest: int) -> list[Row]:
    indexed = _Indexed([tokens(piece) for piece in pieces(document.text, longest)])
    rows = [(number, document.id, indexed.find(asked[number])) for number in concerned]
    return [row for row in rows if row[2].shared or row[2].answered]


class _Indexed:
    """The tokens of a document's pieces, by where they stand."""

    def __init__(self, found: Sequence[Sequence[str]]) -> None:
        self.flat = [word for words in found for word in words]
        self.owner = [number for number, words in enumerate(found) for _ in words]
        self.places: dict[str, list[int]] = defaultdict(list)
        for at, word in enumerate(self.flat):
            self.places[word].append(at)

    def find(self, question: Asked) -> Found:
        answered: set[int] = set()
        for answer in question.answers:
            for at in self.places.get(answer[0], ()):
                if tuple(self.flat[at : at + len(answer)]) == answer:
                    answered.update(self.owner[at : at + len(answer)])
        about = {self.owner[at] for word in question.words for at in self.places.get(word, ())}
        near = {number for number in answered if about & {number - 1, number, number + 1}}
        words = question.words | content(word for answer in question.answers for word in answer)
        shared = Counter(number for word in words for number in {self.owner[at] for at in self.places.get(word, ())})
        most = max(shared.values(), default=0)
        closest = {number for number, count in shared.items() if count == most}
        return Found(frozenset(near), frozenset(answered), frozenset(closest), most)


def needed(rows: Iterable[Row], asked: Sequence[Asked]) -> tuple[set[Place], set[int]]:
    """Return the pieces that the questions need, and the questions of which no document holds a word."""
    by_question: dict[int, list[tuple[str, Found]]] = defaultdict(list)
    for number, document, found in rows:
        by_question[number].append((document, found))
    places: set[Place] = set()
    for found_in in by_question.values():
        near = {(document, piece) for document, found in found_in for piece in found.near}
        answered = {(document, piece) for document, found in found_in for piece in found.answered}
        most = max(found.shared for _, found in found_in)
        closest = {(document, piece) for document, found in found_in if found.shared == most for piece in found.closest}
        places |= (near or answered) | (closest if most else set())
    return places, set(range(len(asked))) - by_question.keys()
