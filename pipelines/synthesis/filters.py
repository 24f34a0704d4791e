"""What a synthesised question must survive, cheap checks first; every check that fails has a name."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from pipelines.synthesis import answer_types
from pipelines.synthesis.prompt_injection import is_prompt_injection
from pipelines.text.normalize import spans, tokens
from pipelines.text.stopwords import STOP_WORDS

_MOST_ASKED = 40  # words of a question
_SUPPORTED = 0.7  # share of a longer answer's telling words that its passage must have
_CHINESE = 0.3  # share of Chinese letters in a Chinese text, which may hold names in others
_POINTS_AT_TEXT = re.compile(
    r"\b(?:the|this|that)\s(?:passage|text|sentence|document|article|paragraph|author|speaker|writer|narrator)\b|文中|本文|这段",
    re.IGNORECASE,
)
_LOOSE_PRONOUN = re.compile(r"\b(?:he|she|him|her|his|hers|they|them|it|its|this|these|those)\b", re.IGNORECASE)
_NAME = re.compile(r"(?<!^)\b[A-Z]\w+")
_LONGER = re.compile(r"[A-Za-z]{4,}")
_NAME_OR_NUMBER = re.compile(r"(?<!^)\b[A-Z]\w+|\d|[一-鿿]")


def rejection_reason(
    question: str, answer: str, sentence: str, window: str, language: str, max_words: int, verbatim: bool
) -> str | None:
    """Name the first fault of a short answer's question that can be seen without asking anybody, or return None.

    `verbatim` answers must stand in their `sentence`; all others must be made of words of it.
    """
    if not question.endswith(("?", "？")) or len(tokens(question)) < 3:
        return "not_a_question"
    if len(tokens(question)) > _MOST_ASKED:
        return "too_long"
    if not _speaks(language, question):
        return "wrong_language"
    if is_prompt_injection(question) or is_prompt_injection(answer):
        return "carries_order"
    if (answer not in sentence) if verbatim else support(answer, sentence) < 1:
        return "evidence_missing"
    if len(tokens(answer)) > max_words:
        return "answer_too_long"
    if spans(tokens(question), tokens(answer)):
        return "answer_in_question"
    if not answer_types.fits(question, answer):
        return "answer_of_wrong_kind"
    if _POINTS_AT_TEXT.search(question):
        return "points_at_text"
    if _repeats(question):
        return "repeats_itself"
    if _LOOSE_PRONOUN.search(question) and not _NAME_OR_NUMBER.search(question):
        return "not_self_contained"
    if not set(_telling(question)) & set(_telling(window)):
        return "unrelated"
    return None


def text_rejection_reason(turns: Sequence[tuple[str, str]], window: str, language: str) -> str | None:
    """Name the first fault of a task or a conversation and its longer answers, or return None.

    `turns` are questions and answers. Where there is a `window`, most words of every answer that carry meaning must
    stand in it.
    """
    asked, said = [question for question, _ in turns], [answer for _, answer in turns]
    if not all(tokens(question) for question in asked) or len(tokens(asked[0])) < 3:
        return "not_a_question"
    if max(len(tokens(question)) for question in asked) > 2 * _MOST_ASKED:
        return "too_long"
    if not all(tokens(answer) for answer in said):
        return "empty_answer"
    if not _speaks(language, "".join(asked + said)):
        return "wrong_language"
    if any(is_prompt_injection(text) for text in asked + said):
        return "carries_order"
    if any(_POINTS_AT_TEXT.search(text) for text in asked + said):
        return "points_at_text"
    if _LOOSE_PRONOUN.search(asked[0]) and not _NAME_OR_NUMBER.search(asked[0]):
        return "not_self_contained"
    if window and min(support(answer, window) for answer in said) < _SUPPORTED:
        return "unsupported"
    return None


def grounded(question: str, sentence: str) -> bool:
    """Tell whether all names of a question stand in the sentence that it was written about.

    Where a sentence speaks of "it", the question takes the name from the title or from before, and often a wrong one.
    """
    return set(tokens(" ".join(_NAME.findall(question)))) <= set(tokens(sentence))


def _repeats(question: str) -> bool:
    """Tell whether a longer word comes twice, written alike, as where a small model goes round in circles.

    Of 2,000 questions that people wrote, one in two hundred does ("a cloud watcher" and "a cloud").
    """
    words = [word for word in _LONGER.findall(question) if word.casefold() not in STOP_WORDS]
    return len(words) > len(set(words))


def support(answer: str, text: str) -> float:
    """Return the share of the telling words of `answer`, each counted once, that stand in `text` (1.0 for none)."""
    said = set(_telling(answer))
    return len(said & set(_telling(text))) / len(said) if said else 1.0


def _telling(text: str) -> list[str]:
    """Return the tokens that carry meaning."""
    return [word for word in tokens(text) if word not in STOP_WORDS]


def _speaks(language: str, text: str) -> bool:
    """Tell whether `text` is written as `language` is: in Chinese characters, or mostly without."""
    letters = [letter for letter in text if letter.isalpha()]
    chinese = sum(letter >= "\u3040" for letter in letters) / max(1, len(letters))
    return chinese > _CHINESE if language == "zh" else chinese <= 1 - _CHINESE


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

    def near(self, question: str) -> Iterator[tuple[int, float]]:
        """Yield the places of the remembered questions that share a rare word with it, and their ROUGE-L."""
        words = tokens(question)
        rare = sorted(set(words), key=lambda word: (len(self.holding.get(word, ())), word))[:6]
        for index in sorted({index for word in rare for index in self.holding.get(word, ())}):
            yield index, rouge_l(words, self.known[index])

    def closest(self, question: str) -> float:
        """Return the largest ROUGE-L to a remembered question (0 when none shares a word)."""
        return max((score for _, score in self.near(question)), default=0.0)
