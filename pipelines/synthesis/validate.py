"""Examining candidates, cheap checks first: what can be seen, a reader's answer, its consistency, a judge's verdict.

Each check sees only what survived the one before; who fails keeps the reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipelines.llm.calls import Call, Reply
from pipelines.llm.prompts import Recipe
from pipelines.llm.verdicts import letter
from pipelines.synthesis.candidate import SHORT, Asked, Candidate
from pipelines.synthesis.filters import agreement, grounded, rejection_reason, text_rejection_reason

SPANS = "answer_first"
"""The recipe whose answer is a span of its sentence, word for word."""


@dataclass(frozen=True)
class Validator:
    """Who examines, and how strictly."""

    reader: Asked
    judge: Asked | None
    reading: Recipe
    judging: Recipe
    max_words: int
    """Of a short answer."""
    min_written: float
    """The writer's certainty of a question, where it tells: the lowest probability of a token."""
    min_ungrounded: float
    """The same of a question with a name that its sentence does not have."""
    min_read: float
    """The reader's certainty of its answer, likewise."""
    min_f1: float
    """Token F1 from which the reader's answer is the expected one."""
    samples: int
    """Answers drawn from the reader for consistency; 0 draws none."""
    min_consistency: float
    temperature: float

    def examine(self, candidates: Sequence[Candidate], makes: str) -> list[Candidate]:
        """Return the candidates in their order, each with the first reason against it, if there is one.

        `makes` is what they all are; a short answer is read back, a longer one must be made of its window's words.
        """
        if makes not in SHORT:
            seen = [each if each.reason else _named(each, _text_fault(each)) for each in candidates]
            return self._survivors(seen, self._judged)
        seen = [each if each.reason else _named(each, self._fault(each)) for each in candidates]
        read = self._survivors(seen, self._read)
        return self._survivors(self._survivors(read, self._consistent), self._judged)

    def abstains(self, windows: Sequence[str], questions: Sequence[str], languages: Sequence[str]) -> list[bool]:
        """Tell of each question whether the reader says that its window does not answer it."""
        pairs = zip(windows, questions, languages, strict=True)
        calls = [self._reading(window, question, language) for window, question, language in pairs]
        replies = self.reader.ask(calls, "looking for answers")
        return [self._silent(reply, language) for reply, language in zip(replies, languages, strict=True)]

    def _fault(self, each: Candidate) -> str | None:
        """Name what can be seen of a candidate, or that its writer had to guess a word of it.

        A small model's own probabilities tell its mistakes (Kadavath et al. 2022, arXiv:2207.05221).
        """
        if each.writer_probability is not None:
            if each.writer_probability < self.min_written:
                return "writer_unsure"
            if each.writer_probability < self.min_ungrounded and not grounded(each.question, each.sentence):
                return "name_from_elsewhere"
        texts = each.question, each.answer, each.sentence, each.window
        return rejection_reason(*texts, each.language, self.max_words, verbatim=each.recipe == SPANS)

    def _survivors(
        self, candidates: Sequence[Candidate], check: Callable[[list[Candidate]], list[Candidate]]
    ) -> list[Candidate]:
        """Put those without a reason through `check`, and return all in their order."""
        checked = iter(check([each for each in candidates if each.reason is None]))
        return [each if each.reason else next(checked) for each in candidates]

    def _read(self, candidates: list[Candidate]) -> list[Candidate]:
        """Round trip (Alberti et al. 2019, arXiv:1906.05416): from the window, the reader finds the same answer."""
        calls = [self._reading(each.window, each.question, each.language) for each in candidates]
        replies = self.reader.ask(calls, "reading back")
        return [self._found(each, reply) for each, reply in zip(candidates, replies, strict=True)]

    def _found(self, each: Candidate, reply: Reply) -> Candidate:
        if reply.text is None:
            return each.rejected(reply.failure or "no_answer")
        words = reply.text.strip().strip(" .,;:!?\"'。，；：！？")
        read = replace(each, read=reply.text, reader_probability=reply.certainty)
        if self._silent(reply, each.language):
            return read.rejected("reader_finds_nothing")
        if words != each.answer and reply.certainty is not None and reply.certainty < self.min_read:
            return read.rejected("reader_unsure")  # the very answer, out of all words of a window, is no chance
        if each.recipe == SPANS and words and words in each.sentence:
            found = _answered(read, words)  # another span of the sentence often answers the question better
            return _named(found, self._fault(found))
        return read if agreement(each.answer, words) >= self.min_f1 else read.rejected("reader_disagrees")

    def _consistent(self, candidates: list[Candidate]) -> list[Candidate]:
        """Self-consistency (Wang et al. 2022, arXiv:2203.11171): sampled answers agree with the one that was read."""
        if not self.samples or not candidates:
            return candidates
        calls = [
            replace(
                self._reading(each.window, each.question, each.language), temperature=self.temperature, sample=number
            )
            for each in candidates
            for number in range(self.samples)
        ]
        replies = self.reader.ask(calls, "reading again")
        return [
            self._weighed(each, replies[at * self.samples : (at + 1) * self.samples])
            for at, each in enumerate(candidates)
        ]

    def _weighed(self, each: Candidate, replies: Sequence[Reply]) -> Candidate:
        agreeing = sum(agreement(each.answer, reply.text or "") >= self.min_f1 for reply in replies)
        weighed = replace(each, consistency=agreeing / self.samples)
        return weighed if agreeing >= self.min_consistency * self.samples else weighed.rejected("inconsistent")

    def _judged(self, candidates: list[Candidate]) -> list[Candidate]:
        """Ask a judge that sees the window, twice, the choices swapped against its bias for a position (Zheng et al.
        2023, arXiv:2306.05685, section 3.3); it must support the answer both times.
        """
        if self.judge is None or not candidates:
            return candidates
        calls = [self._judging(each, *order) for each in candidates for order in (("A", "B"), ("B", "A"))]
        replies = self.judge.ask(calls, "judging")
        return [
            _verdict(self.judging, each, replies[2 * at], replies[2 * at + 1]) for at, each in enumerate(candidates)
        ]

    def _reading(self, window: str, question: str, language: str) -> Call:
        filled = {"window": window, "sentence": "", "question": question, "answer": ""}
        return self.reading.call(filled, language, self.reader.instructed)

    def _judging(self, each: Candidate, yes: str, no: str) -> Call:
        assert self.judge is not None
        said = " / ".join(answer for _, answer in each.turns) or each.answer
        asked = " / ".join(question for question, _ in each.turns) or each.question
        filled = {"window": each.window, "sentence": each.sentence, "question": asked, "answer": said}
        return self.judging.call({**filled, "yes": yes, "no": no}, each.language, self.judge.instructed)

    def _silent(self, reply: Reply, language: str) -> bool:
        abstain = self.reading.words(language).abstain.casefold().rstrip(".。")
        return reply.text is None or (bool(abstain) and reply.text.strip().casefold().startswith(abstain))


def _text_fault(each: Candidate) -> str | None:
    turns = each.turns or ((each.question, each.answer),)
    return text_rejection_reason(turns, each.window, each.language)


def _named(each: Candidate, reason: str | None) -> Candidate:
    return each.rejected(reason) if reason else each


def _answered(each: Candidate, words: str) -> Candidate:
    """Return the candidate with `words` of its sentence as its answer."""
    start = each.start - each.sentence.index(each.answer) + each.sentence.index(words)
    return replace(each, answer=words, start=start, end=start + len(words))


def _verdict(recipe: Recipe, each: Candidate, first: Reply, second: Reply) -> Candidate:
    """The judge's choice, "A" for support in the first order and "B" in the second."""
    if failure := first.failure or second.failure:
        return each.rejected(failure)
    choices = [letter(recipe, reply) for reply in (first, second)]
    if any(choice not in {"A", "B"} for choice in choices):
        return each.rejected("judge_says_neither")
    if choices[0] == choices[1]:
        return each.rejected("judge_wavers")
    return each if choices == ["A", "B"] else each.rejected("judge_rejects")
