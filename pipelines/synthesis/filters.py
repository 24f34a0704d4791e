"""What a synthesised question must survive, cheap checks first; every check that fails has a name."""

import re
from collections import defaultdict
from collections.abc import Sequence

from pipelines.evaluation.normalise import spans, tokens

_POINTS_AT_TEXT = re.compile(
    r"\b(?:the|this|that)\s(?:passage|text|sentence|document|article|paragraph|author|speaker|writer|narrator)\b|文中|本文|这段",
    re.IGNORECASE,
)
_LOOSE_PRONOUN = re.compile(r"\b(?:he|she|him|her|his|hers|they|them|it|its|this|these|those)\b", re.IGNORECASE)
_NAME_OR_NUMBER = re.compile(r"(?<!^)\b[A-Z]\w+|\d|[一-鿿]")


def fault(question: str, answer: str, sentence: str, max_words: int) -> str | None:
    """Name the first fault that can be seen without asking anybody, or return None."""
    if not question.endswith(("?", "？")) or len(tokens(question)) < 3:
        return "not_a_question"
    if len(tokens(question)) > 40:
        return "too_long"
    if answer not in sentence:
        return "evidence_missing"
    if len(tokens(answer)) > max_words:
        return "answer_too_long"
    if spans(tokens(question), tokens(answer)):
        return "answer_in_question"
    if _POINTS_AT_TEXT.search(question):
        return "points_at_text"
    if _LOOSE_PRONOUN.search(question) and not _NAME_OR_NUMBER.search(question):
        return "not_self_contained"
    return None


def agreement(one: str, other: str) -> float:
    """Return the token F1 of two answers; one that contains the other whole counts as agreement (1.0)."""
    a, b = tokens(one), tokens(other)
    if not a or not b:
        return 0.0
    if spans(a, b) or spans(b, a):
        return 1.0
    shared = sum(min(a.count(word), b.count(word)) for word in set(a))
    return 2 * shared / (len(a) + len(b))


def rouge_l(one: Sequence[str], other: Sequence[str]) -> float:
    """Return ROUGE-L's F1: longest common subsequence of tokens (Lin 2004, section 3)."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, match in enumerate(other, 1):
            before, row[at] = row[at], before + 1 if word == match else max(row[at], row[at - 1])
    return 2 * row[-1] / (len(one) + len(other)) if one and other else 0.0


class Novelty:
    """Keeps questions apart: tells how close a new one is to those that share a rare word with it."""

    def __init__(self, questions: Sequence[str] = ()) -> None:
        """Begin with `questions`."""
        self.known: list[list[str]] = []
        self.holding: dict[str, list[int]] = defaultdict(list)
        for question in questions:
            self.add(question)

    def add(self, question: str) -> None:
        """Remember a question."""
        words = tokens(question)
        for word in set(words):
            self.holding[word].append(len(self.known))
        self.known.append(words)

    def closest(self, question: str) -> float:
        """Return the largest ROUGE-L to a remembered question (0 when none shares a word)."""
        words = tokens(question)
        rare = sorted(set(words), key=lambda word: (len(self.holding.get(word, ())), word))[:6]
        near = {index for word in rare for index in self.holding.get(word, ())}
        return max((rouge_l(words, self.known[index]) for index in near), default=0.0)
