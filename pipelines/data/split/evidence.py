"""Evidence search: passages that the hand-written questions need in training, found by answers and content words.

A passage is evidence for a question if it contains an accepted answer and it or a neighbour contains a content word of
the question. The passage that shares most words with question and answer counts too, since the answer may be
paraphrased.
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
"""Stem of the file with general-knowledge questions, which no document answers."""

Place = tuple[str, int]
"""Document id and piece number."""


@dataclass(frozen=True)
class Question:
    """A hand-written question."""

    file: str
    words: frozenset[str]
    """Content words of the question."""
    answers: tuple[tuple[str, ...], ...]
    """Tokens of the accepted answers."""
    sources: tuple[str, ...]
    """Sources that the question names."""
    searched: bool
    """Whether evidence is searched in all documents, because the question names none."""


@dataclass(frozen=True)
class Evidence:
    """Evidence for a question in one document, as piece numbers."""

    supported: frozenset[int]
    """Pieces with an accepted answer, and a content word there or in a neighbouring piece."""
    answered: frozenset[int]
    """Pieces with an accepted answer."""
    closest: frozenset[int]
    """Pieces that share the most words with question and answer."""
    shared: int
    """Number of words that the closest pieces share."""


Row = tuple[int, str, Evidence]
"""Question number, document id and evidence."""


def load_questions(folder: Path) -> list[Question]:
    """Return the hand-written questions of a folder; the list is empty if there are none yet.

    Raises:
        UserError: `sources` is not a list of paths.
    """
    return [_question(row, path) for path in sorted(folder.glob("*.jsonl")) for row in artifacts.each_row(path)]


def _question(row: artifacts.Row, path: Path) -> Question:
    sources = row.get("sources") or []
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise UserError(f"{path}: 'sources' of question {row.get('id')!r} must be a list of file paths.")
    aliases = row.get("aliases")
    accepted = [row.get("answer"), *(aliases if isinstance(aliases, list) else [])]
    answers = [tuple(tokens(str(each))) for each in accepted if isinstance(each, str | int | float)]
    answers = [each for each in answers if each]
    searched = bool(answers) and not sources and path.stem != GENERAL
    return Question(str(path), content(tokens(str(row.get("question", "")))), tuple(answers), tuple(sources), searched)


def content(words: Iterable[str]) -> frozenset[str]:
    """Return the content words: all words except stop words."""
    return frozenset(words) - STOP_WORDS


def search(shard: Path, questions: Sequence[Question], named: Mapping[str, Sequence[int]], longest: int) -> list[Row]:
    """Return the evidence for the questions in the documents of a shard.

    `named` maps a document to the questions that name it; questions that name none are searched in every document.
    """
    everywhere = [number for number, each in enumerate(questions) if each.searched]
    rows: list[Row] = []
    for document in documents.read(shard):
        relevant = [*named.get(document.id, ()), *everywhere]
        rows += _search_document(document, questions, relevant, longest) if relevant else []
    return rows


def _search_document(
    document: Document, questions: Sequence[Question], relevant: Sequence[int], longest: int
) -> list[Row]:
    index = _TokenIndex([tokens(piece) for piece in pieces(document.text, longest)])
    rows = [(number, document.id, index.find(questions[number])) for number in relevant]
    return [row for row in rows if row[2].shared or row[2].answered]


class _TokenIndex:
    """Inverted index over the tokens of a document's pieces."""

    def __init__(self, token_lists: Sequence[Sequence[str]]) -> None:
        self.flat = [word for words in token_lists for word in words]
        self.owner = [number for number, words in enumerate(token_lists) for _ in words]
        self.places: dict[str, list[int]] = defaultdict(list)
        for at, word in enumerate(self.flat):
            self.places[word].append(at)

    def find(self, question: Question) -> Evidence:
        answered: set[int] = set()
        for answer in question.answers:
            for at in self.places.get(answer[0], ()):
                if tuple(self.flat[at : at + len(answer)]) == answer:
                    answered.update(self.owner[at : at + len(answer)])
        about = {self.owner[at] for word in question.words for at in self.places.get(word, ())}
        supported = {number for number in answered if about & {number - 1, number, number + 1}}
        words = question.words | content(word for answer in question.answers for word in answer)
        shared = Counter(number for word in words for number in {self.owner[at] for at in self.places.get(word, ())})
        most = max(shared.values(), default=0)
        closest = {number for number, count in shared.items() if count == most}
        return Evidence(frozenset(supported), frozenset(answered), frozenset(closest), most)


def needed(rows: Iterable[Row], questions: Sequence[Question]) -> tuple[set[Place], set[int]]:
    """Return the pieces that the questions need, and the numbers of questions without any evidence."""
    by_question: dict[int, list[tuple[str, Evidence]]] = defaultdict(list)
    for number, document, found in rows:
        by_question[number].append((document, found))
    places: set[Place] = set()
    for matches in by_question.values():
        supported = {(document, piece) for document, found in matches for piece in found.supported}
        answered = {(document, piece) for document, found in matches for piece in found.answered}
        most = max(found.shared for _, found in matches)
        closest = {(document, piece) for document, found in matches if found.shared == most for piece in found.closest}
        places |= (supported or answered) | (closest if most else set())
    return places, set(range(len(questions))) - by_question.keys()
