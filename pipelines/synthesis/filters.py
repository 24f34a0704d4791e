"""Rule-based filters of synthesised questions, cheap checks first; each has a rejection reason."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from pipelines.synthesis import answer_types
from pipelines.synthesis.prompt_injection import is_prompt_injection
from pipelines.synthesis.reasons import Reason
from pipelines.text.names import CAPITALISED
from pipelines.text.normalize import f1, spans, tokens
from pipelines.text.stopwords import STOP_WORDS

_MAX_QUESTION_WORDS = 40  # maximum words of a question
_MIN_SUPPORT = 0.7  # minimum share of a longer answer's content words that are in its passage
_MIN_CHINESE = 0.3  # minimum share of Chinese characters in a Chinese text, which may contain Latin names
_POINTS_AT_TEXT = re.compile(
    r"\b(?:the|this|that)\s(?:passage|text|sentence|document|article|paragraph|author|speaker|writer|narrator)\b|文中|本文|这段",
    re.IGNORECASE,
)
_LOOSE_PRONOUN = re.compile(r"\b(?:he|she|him|her|his|hers|they|them|it|its|this|these|those)\b", re.IGNORECASE)
_NAME = re.compile(rf"(?<!^){CAPITALISED}")
_LONG_WORD = re.compile(r"[A-Za-z]{4,}")
_NAME_OR_NUMBER = re.compile(rf"{_NAME.pattern}|\d|[一-鿿]")


def rejection_reason(
    question: str, answer: str, sentence: str, window: str, language: str, max_words: int, verbatim: bool
) -> Reason | None:
    """Return the first rule that a question with a short answer breaks, or None.

    `verbatim` answers must be spans of their `sentence`; the content words of all others must be in it.
    """
    if not question.endswith(("?", "？")) or len(tokens(question)) < 3:
        return Reason.NOT_A_QUESTION
    if len(tokens(question)) > _MAX_QUESTION_WORDS:
        return Reason.TOO_LONG
    if not _is_in_language(language, question):
        return Reason.WRONG_LANGUAGE
    if is_prompt_injection(question) or is_prompt_injection(answer):
        return Reason.CARRIES_ORDER
    if (answer not in sentence) if verbatim else support(answer, sentence) < 1:
        return Reason.EVIDENCE_MISSING
    if len(tokens(answer)) > max_words:
        return Reason.ANSWER_TOO_LONG
    if spans(tokens(question), tokens(answer)):
        return Reason.ANSWER_IN_QUESTION
    if not answer_types.fits(question, answer):
        return Reason.ANSWER_OF_WRONG_KIND
    if _POINTS_AT_TEXT.search(question):
        return Reason.POINTS_AT_TEXT
    if _repeats_word(question):
        return Reason.REPEATS_ITSELF
    if _LOOSE_PRONOUN.search(question) and not _NAME_OR_NUMBER.search(question):
        return Reason.NOT_SELF_CONTAINED
    if not set(_content_words(question)) & set(_content_words(window)):
        return Reason.UNRELATED
    return None


def text_rejection_reason(turns: Sequence[tuple[str, str]], window: str, language: str) -> Reason | None:
    """Return the first rule that a task or a conversation with longer answers breaks, or None.

    `turns` are questions and answers. If there is a `window`, most content words of every answer must be in it.
    """
    questions, answers = [question for question, _ in turns], [answer for _, answer in turns]
    if not all(tokens(question) for question in questions) or len(tokens(questions[0])) < 3:
        return Reason.NOT_A_QUESTION
    if max(len(tokens(question)) for question in questions) > 2 * _MAX_QUESTION_WORDS:
        return Reason.TOO_LONG
    if not all(tokens(answer) for answer in answers):
        return Reason.EMPTY_ANSWER
    if not _is_in_language(language, "".join(questions + answers)):
        return Reason.WRONG_LANGUAGE
    if any(is_prompt_injection(text) for text in questions + answers):
        return Reason.CARRIES_ORDER
    if any(_POINTS_AT_TEXT.search(text) for text in questions + answers):
        return Reason.POINTS_AT_TEXT
    if _LOOSE_PRONOUN.search(questions[0]) and not _NAME_OR_NUMBER.search(questions[0]):
        return Reason.NOT_SELF_CONTAINED
    if window and min(support(answer, window) for answer in answers) < _MIN_SUPPORT:
        return Reason.UNSUPPORTED
    return None


def grounded(question: str, sentence: str) -> bool:
    """Return whether all names of a question are in the sentence that it was generated from.

    If the sentence says "it", the writer copies a name from the title or an earlier sentence, often a wrong one.
    """
    return set(tokens(" ".join(_NAME.findall(question)))) <= set(tokens(sentence))


def _repeats_word(question: str) -> bool:
    """Return whether a content word of four letters or more occurs twice, a sign of degenerate repetition.

    Among 2,000 questions written by people, one in two hundred has such a word ("a cloud watcher" and "a cloud").
    """
    words = [word for word in _LONG_WORD.findall(question) if word.casefold() not in STOP_WORDS]
    return len(words) > len(set(words))


def support(answer: str, text: str) -> float:
    """Return the share of the distinct content words of `answer` that are in `text` (1.0 if it has none)."""
    words = set(_content_words(answer))
    return len(words & set(_content_words(text))) / len(words) if words else 1.0


def _content_words(text: str) -> list[str]:
    """Return the tokens of `text` without stop words."""
    return [word for word in tokens(text) if word not in STOP_WORDS]


def _is_in_language(language: str, text: str) -> bool:
    """Return whether `text` is in `language`, by its share of Chinese characters."""
    letters = [letter for letter in text if letter.isalpha()]
    chinese = sum(letter >= "\u3040" for letter in letters) / max(1, len(letters))
    return chinese > _MIN_CHINESE if language == "zh" else chinese <= 1 - _MIN_CHINESE


def agreement(one: str, other: str) -> float:
    """Return the token F1 of two answers; 1.0 if one contains the other."""
    a, b = tokens(one), tokens(other)
    if not a or not b:
        return 0.0
    if spans(a, b) or spans(b, a):
        return 1.0
    return f1(a, b)


def rouge_l(one: Sequence[str], other: Sequence[str]) -> float:
    """Return ROUGE-L's F1: longest common subsequence of tokens (Lin 2004, section 3)."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, match in enumerate(other, 1):
            before, row[at] = row[at], before + 1 if word == match else max(row[at], row[at - 1])
    return 2 * row[-1] / (len(one) + len(other)) if one and other else 0.0


class Novelty:
    """Finds near-duplicate questions by ROUGE-L, among known questions that share a rare word."""

    def __init__(self, questions: Sequence[str] = ()) -> None:
        """Index `questions`."""
        self.known: list[list[str]] = []
        self.with_word: dict[str, list[int]] = defaultdict(list)
        for question in questions:
            self.add(question)

    def add(self, question: str) -> None:
        """Add a question to the index."""
        words = tokens(question)
        for word in set(words):
            self.with_word[word].append(len(self.known))
        self.known.append(words)

    def near(self, question: str) -> Iterator[tuple[int, float]]:
        """Yield (index, ROUGE-L) of the known questions that share a rare word with `question`."""
        words = tokens(question)
        for index in self._sharing(words):
            yield index, rouge_l(words, self.known[index])

    def closest(self, question: str) -> float:
        """Return the largest ROUGE-L to a known question (0 if none shares a rare word).

        The tokens of one question that occur in the other bound their common subsequence. Questions are compared from
        the highest bound down, until none can be closer; with 2,000 known questions that saves most comparisons.
        """
        words, best = tokens(question), 0.0
        different = set(words)
        bounds = [(self._bound(words, different, index), index) for index in self._sharing(words)]
        for bound, index in sorted(bounds, reverse=True):
            if bound <= best:
                break
            best = max(best, rouge_l(words, self.known[index]))
        return best

    def _sharing(self, words: Sequence[str]) -> list[int]:
        rare = sorted(set(words), key=lambda word: (len(self.with_word.get(word, ())), word))[:6]
        return sorted({index for word in rare for index in self.with_word.get(word, ())})

    def _bound(self, words: Sequence[str], different: set[str], index: int) -> float:
        """Return an upper bound of ROUGE-L."""
        other = self.known[index]
        common = min(sum(word in different for word in other), len(words))
        return 2 * common / (len(words) + len(other))
