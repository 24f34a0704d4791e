"""Validation of candidates, cheap checks first: rules, round trip, self-consistency, LLM judge.

Each check runs only on candidates that passed the one before; a rejected candidate keeps the reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipelines.llm.calls import Call, Reply
from pipelines.llm.prompts import Recipe
from pipelines.llm.verdicts import letter
from pipelines.synthesis.candidate import SHORT_ANSWER, Candidate, Teacher
from pipelines.synthesis.config import SynthesizeConfig
from pipelines.synthesis.filters import agreement, grounded, rejection_reason, text_rejection_reason
from pipelines.synthesis.reasons import Reason

SPANS = "answer_first"
"""The recipe whose answers are verbatim spans of their sentence."""


@dataclass(frozen=True)
class Validator:
    """The reader and the judge, their prompts, and the thresholds of `synthesize`."""

    reader: Teacher
    judge: Teacher | None
    reading: Recipe
    judging: Recipe
    config: SynthesizeConfig

    def validate(self, candidates: Sequence[Candidate], makes: str) -> list[Candidate]:
        """Return the candidates in their order, each with the reason of the first check that it fails, or none.

        `makes` is the type of all of them (prompts.FIELDS). Short answers must pass a round trip; longer ones must
        consist mostly of words of their window.
        """
        if makes not in SHORT_ANSWER:
            ruled = [each if each.reason else _with_reason(each, _broken_text_rule(each)) for each in candidates]
            return self._survivors(ruled, self._judged)
        ruled = [each if each.reason else _with_reason(each, self._broken_rule(each)) for each in candidates]
        read = self._survivors(ruled, self._read)
        return self._survivors(self._survivors(read, self._consistent), self._judged)

    def abstains(self, windows: Sequence[str], questions: Sequence[str], languages: Sequence[str]) -> list[bool]:
        """Return for each question whether the reader abstains because its window does not answer it."""
        pairs = zip(windows, questions, languages, strict=True)
        calls = [self._reading(window, question, language) for window, question, language in pairs]
        replies = self.reader.ask(calls, "looking for answers")
        return [self._abstained(reply, language) for reply, language in zip(replies, languages, strict=True)]

    def _broken_rule(self, each: Candidate) -> str | None:
        """Return the first rule that a candidate breaks, or a low token probability of its writer.

        A small model's token probabilities predict its mistakes (Kadavath et al. 2022, arXiv:2207.05221).
        """
        if each.writer_probability is not None:
            if each.writer_probability < self.config.min_writer_probability:
                return Reason.WRITER_UNSURE
            if each.writer_probability < self.config.min_ungrounded_probability and not grounded(
                each.question, each.sentence
            ):
                return Reason.NAME_FROM_ELSEWHERE
        texts = each.question, each.answer, each.sentence, each.window
        return rejection_reason(*texts, each.language, self.config.max_answer_words, verbatim=each.recipe == SPANS)

    def _survivors(
        self, candidates: Sequence[Candidate], check: Callable[[list[Candidate]], list[Candidate]]
    ) -> list[Candidate]:
        """Apply `check` to the candidates without a reason, and return all in their order."""
        checked = iter(check([each for each in candidates if each.reason is None]))
        return [each if each.reason else next(checked) for each in candidates]

    def _read(self, candidates: list[Candidate]) -> list[Candidate]:
        """Round trip (Alberti et al. 2019, arXiv:1906.05416): the reader must find the same answer in the window."""
        calls = [self._reading(each.window, each.question, each.language) for each in candidates]
        replies = self.reader.ask(calls, "reading back")
        return [self._round_trip(each, reply) for each, reply in zip(candidates, replies, strict=True)]

    def _round_trip(self, each: Candidate, reply: Reply) -> Candidate:
        if reply.text is None:
            return each.rejected(reply.failure or "no_answer")
        words = reply.text.strip().strip(" .,;:!?\"'。，；：！？")
        read = replace(each, read=reply.text, reader_probability=reply.certainty)
        if self._abstained(reply, each.language):
            return read.rejected(Reason.READER_FINDS_NOTHING)
        if (
            words != each.answer
            and reply.certainty is not None
            and reply.certainty < self.config.min_reader_probability
        ):
            return read.rejected(Reason.READER_UNSURE)  # the exact span is not found by chance: exempt
        if each.recipe == SPANS and words and words in each.sentence:
            moved = _with_answer(read, words)  # another span of the sentence often fits the question better
            return _with_reason(moved, self._broken_rule(moved))
        return (
            read
            if agreement(each.answer, words) >= self.config.min_reader_f1
            else read.rejected(Reason.READER_DISAGREES)
        )

    def _consistent(self, candidates: list[Candidate]) -> list[Candidate]:
        """Self-consistency (Wang et al. 2022, arXiv:2203.11171): sampled answers must agree with the greedy one."""
        if not self.config.consistency_samples or not candidates:
            return candidates
        samples = self.config.consistency_samples
        calls = [
            replace(
                self._reading(each.window, each.question, each.language),
                temperature=self.config.temperature,
                sample=number,
            )
            for each in candidates
            for number in range(samples)
        ]
        replies = self.reader.ask(calls, "reading again")
        return [self._sampled(each, replies[at * samples : (at + 1) * samples]) for at, each in enumerate(candidates)]

    def _sampled(self, each: Candidate, replies: Sequence[Reply]) -> Candidate:
        agreeing = sum(agreement(each.answer, reply.text or "") >= self.config.min_reader_f1 for reply in replies)
        scored = replace(each, consistency=agreeing / len(replies))
        return (
            scored if agreeing >= self.config.min_consistency * len(replies) else scored.rejected(Reason.INCONSISTENT)
        )

    def _judged(self, candidates: list[Candidate]) -> list[Candidate]:
        """LLM-as-a-judge: given the window, it must support the answer in both orders of the choices.

        Swapping the choices cancels position bias (Zheng et al. 2023, arXiv:2306.05685, section 3.3).
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
        answers = " / ".join(answer for _, answer in each.turns) or each.answer
        questions = " / ".join(question for question, _ in each.turns) or each.question
        filled = {"window": each.window, "sentence": each.sentence, "question": questions, "answer": answers}
        return self.judging.call({**filled, "yes": yes, "no": no}, each.language, self.judge.instructed)

    def _abstained(self, reply: Reply, language: str) -> bool:
        return reply.text is None or self.reading.words(language).is_abstention(reply.text)


def _broken_text_rule(each: Candidate) -> str | None:
    turns = each.turns or ((each.question, each.answer),)
    return text_rejection_reason(turns, each.window, each.language)


def _with_reason(each: Candidate, reason: str | None) -> Candidate:
    return each.rejected(reason) if reason else each


def _with_answer(each: Candidate, words: str) -> Candidate:
    """Return the candidate with the span `words` of its sentence as its answer."""
    start = each.start - each.sentence.index(each.answer) + each.sentence.index(words)
    return replace(each, answer=words, start=start, end=start + len(words))


def _verdict(recipe: Recipe, each: Candidate, first: Reply, second: Reply) -> Candidate:
    """Combine the judge's choices: "A" in the first order and "B" in the second support the answer."""
    if failure := first.failure or second.failure:
        return each.rejected(failure)
    choices = [letter(recipe, reply) for reply in (first, second)]
    if any(choice not in {"A", "B"} for choice in choices):
        return each.rejected(Reason.JUDGE_SAYS_NEITHER)
    if choices[0] == choices[1]:
        return each.rejected(Reason.JUDGE_WAVERS)
    return each if choices == ["A", "B"] else each.rejected(Reason.JUDGE_REJECTS)
