"""Asking the teacher: which span of which sentence, the question it gets, and what a reader makes of that question."""

import random
import re
import string
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from transformers import PreTrainedTokenizerBase

from pipelines.artifacts import Row
from pipelines.config import SynthesizeConfig
from pipelines.synthesis import prompts, spans, unanswerable
from pipelines.synthesis.filters import agreement
from pipelines.synthesis.teacher import Teacher
from pipelines.synthesis.windows import windows

_SMALL = re.compile(r"\b[a-z]+\b")
_VAGUE = ("definition", "condition")
_TOPIC = 12  # mentions from which a name is a topic rather than an answer
_QUESTION_TOKENS = 32
_ANSWER_TOKENS = 20


@dataclass(frozen=True)
class Candidate:
    """A question, the span that answers it, and where that stands. `read` is what the reader answered."""

    source: str
    start: int
    end: int
    kind: str
    answer: str
    sentence: str
    window: str
    question: str = ""
    read: str = ""

    def as_row(self, min_f1: float) -> Row:
        """Return it as a row of candidates.jsonl, with what the reader found in the sentence as its answer."""
        answer = self.found(min_f1)
        words = answer or self.answer
        start = self.start - self.sentence.index(self.answer) + self.sentence.index(words)
        place = {"start": start, "end": start + len(words)}
        return {**asdict(self), "answer": words, **place, "round_trip": answer is not None}

    def found(self, min_f1: float) -> str | None:
        """Return the words of the sentence with which the reader answered the question, or None (round trip).

        Often another span of the sentence than the one asked for answers the question better; where the reader's words
        are not the sentence's, they must have the token F1 `min_f1` with that span (Alberti et al. 2019).
        """
        words = self.read.strip(" .,;:!?\"'")
        if words and words in self.sentence:
            return words
        return self.answer if agreement(self.answer, self.read) >= min_f1 else None


def candidates(documents: Sequence[Row], tok: PreTrainedTokenizerBase, work: SynthesizeConfig) -> list[Candidate]:
    """Plan which spans to ask about: the best of every sentence, then the second best, until the budget is spent.

    Names, numbers, dates, causes and purposes come before looser clauses, and what the corpus is all about comes last,
    since knowing it tells little. A word that the corpus also writes small is no name, whatever it begins.

    `start` and `end` are the span's characters in its document's text.
    """
    planned: list[tuple[int, Candidate]] = []
    texts = [document["text"] for document in documents]
    known = unanswerable.names(texts)
    common = {word for text in texts for word in _SMALL.findall(text)}
    for document in documents:
        title = document["title"] or ""
        title = string.capwords(title) if title.isupper() else title
        for sentence in windows(document["text"], title, tok, work.window_tokens, work.overlap_tokens):
            if sentence.text[-1].isalnum():
                continue  # a heading states nothing
            found = spans.propose(sentence.text, work.spans_per_sentence, work.max_span_words)
            worth = [(span, kind) for span, kind in found if kind != "name" or span.casefold() not in common]
            worth.sort(key=lambda pair: (pair[1] in _VAGUE, known[pair[0]] > _TOPIC))
            for rank, (span, kind) in enumerate(worth):
                start = sentence.start + sentence.text.index(span)
                place = (document["id"], start, start + len(span))
                late = rank + (kind in _VAGUE) + (known[span] > _TOPIC)
                planned.append((late, Candidate(*place, kind, span, sentence.text, sentence.window)))
    planned.sort(key=lambda pair: pair[0])
    return [candidate for _, candidate in planned[: work.max_questions]]


def ask(teacher: Teacher, planned: Sequence[Candidate], work: SynthesizeConfig) -> list[Candidate]:
    """Have a question written for every span and read back; where the reader disagrees, another attempt is sampled.

    Returns every attempt, failed ones too, in the order of `planned` within each attempt.
    """
    done: list[Candidate] = []
    open_spans = list(planned)
    for attempt in range(work.attempts):
        asked = _write(teacher, open_spans, work.temperature if attempt else None)
        read = _read(teacher, asked)
        done += read
        open_spans = [candidate for candidate in read if candidate.found(work.min_reader_f1) is None]
    return done


def unknown(
    teacher: Teacher, asked: Sequence[Candidate], far: Sequence[str], foreign: Sequence[str], most: int, seed: int
) -> list[Row]:
    """Write questions that the corpus cannot answer, in three ways.

    Answered questions get a name from the questions `far` from the corpus (`stranger`, at most `most`) or another name
    of the corpus (`swapped`, at most `most`); questions of other domains, `foreign`, get a name of the corpus too:
    somebody it knows, asked about what it does not tell. Where the name is one of the corpus, a question is kept only
    if the reader finds no answer in the windows closest to it.
    """
    rng = random.Random(seed)
    strangers = sorted(unanswerable.names(far))
    shuffled = list(asked)
    rng.shuffle(shuffled)
    local = sorted(unanswerable.names([candidate.sentence for candidate in asked]))
    rows: list[Row] = []
    doubtful: list[Row] = []
    for number, candidate in enumerate(shuffled[: 2 * most]):
        pool, kind, into = (strangers, "stranger", rows) if number % 2 else (local, "swapped", doubtful)
        question = unanswerable.swap(candidate.question, pool, rng)
        if question is not None:
            into.append({"question": question, "kind": kind, "from": candidate.question})
    doubtful = doubtful[:most]
    for asked_elsewhere in foreign:
        question = unanswerable.swap(asked_elsewhere, local, rng)
        if question is not None:
            doubtful.append({"question": question, "kind": "foreign", "from": asked_elsewhere})
    return _unanswered(teacher, doubtful, [candidate.window for candidate in asked]) + rows[:most]


def _unanswered(teacher: Teacher, rows: Sequence[Row], texts: Sequence[str]) -> list[Row]:
    """Keep the rows whose question the reader cannot answer from any of the two windows closest to it."""
    retriever = unanswerable.Retriever(sorted(set(texts)))
    pairs = [(index, window) for index, row in enumerate(rows) for window in retriever.find(row["question"], 2)]
    chats = [prompts.reader(window, rows[index]["question"], teacher.instructed) for index, window in pairs]
    answers = teacher.answer(chats, max_new_tokens=_ANSWER_TOKENS, temperature=None, what="looking for answers")
    silent = says_nothing(answers)
    answered = {index for (index, _), quiet in zip(pairs, silent, strict=True) if not quiet}
    return [row for index, row in enumerate(rows) if index not in answered]


def says_nothing(answers: Sequence[str]) -> list[bool]:
    """Tell which answers say that the passage does not say."""
    return [answer.casefold().startswith(prompts.NOT_STATED.casefold().rstrip(".")) for answer in answers]


def _write(teacher: Teacher, planned: Sequence[Candidate], temperature: float | None) -> list[Candidate]:
    chats = [prompts.writer(each.window, each.sentence, each.answer, teacher.instructed) for each in planned]
    questions = teacher.answer(
        chats, max_new_tokens=_QUESTION_TOKENS, temperature=temperature, what="writing questions"
    )
    return [replace(each, question=question) for each, question in zip(planned, questions, strict=True)]


def _read(teacher: Teacher, asked: Sequence[Candidate]) -> list[Candidate]:
    chats = [prompts.reader(each.window, each.question, teacher.instructed) for each in asked]
    answers = teacher.answer(chats, max_new_tokens=_ANSWER_TOKENS, temperature=None, what="reading back")
    return [replace(each, read=answer) for each, answer in zip(asked, answers, strict=True)]
