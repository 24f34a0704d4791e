"""Candidates in an answer: find accepted and competing variants, and check that the accepted one is the only one.

A list of names and years also contains the right one, but does not answer the question. Form alone does not separate
candidates from other words, so the bound is on content: most content words of an answer must come from the accepted
variant or the question.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipelines.evaluation.negation import NEGATORS, excused
from pipelines.evaluation.questions import Question
from pipelines.evaluation.statements import Statement, content_words, is_number, is_ordinal, stem
from pipelines.text.normalize import MARKS, spans, tokens
from pipelines.text.quantities import UNITS

Span = tuple[int, int]
Tokens = tuple[str, ...]

_RESTATED = 2  # content words shared with the question that make an answer restate it
_SCALES = frozenset(["celsius", "fahrenheit"])
_POLAR = frozenset(["yes", "no"])


@dataclass(frozen=True)
class Reference:
    """A question and its answers as tokens."""

    question: Tokens
    accepted: frozenset[Tokens]
    competing: frozenset[Tokens]
    """Competing variants, except those that the question itself contains."""
    stems: frozenset[str]
    """Word stems of the question and of all accepted variants."""
    excused: frozenset[str]
    """Words that negate nothing in an answer."""
    capital: bool
    """Whether the answer is a name."""


@lru_cache(maxsize=4096)
def reference_of(question: Question) -> Reference:
    """Return the tokens of a question and its variants.

    A number is accepted without its unit if the question names the unit: "How many metres" accepts "268".
    """
    asked = tokens(question.question)
    accepted = {words for variant in question.accepted if (words := tuple(tokens(variant)))}
    bare = {variant[:1] for variant in accepted if is_number(variant[0]) and set(variant[1:]) <= set(asked)}
    rivals = (tuple(tokens(text)) for text in question.competing)
    competing = {variant for variant in rivals if variant and not spans(asked, list(variant))}
    stems = {stem(word) for words in (asked, *accepted) for word in words}
    capital = any(word[0].isupper() for text in question.accepted[:1] for word in text.split())
    return Reference(
        question=tuple(asked),
        accepted=frozenset(accepted | bare),
        competing=frozenset(competing - accepted),
        stems=frozenset(stems),
        excused=excused(asked, accepted),
        capital=capital,
    )


def find_variants(words: Sequence[str], reference: Reference) -> tuple[list[Span], list[Span]]:
    """Return the spans of accepted and of competing variants in `words`, the longest first.

    The longer of two nested names wins: "Newton Abbot" is not "Newton", and "New York City" is not "York".
    """
    right = [span for variant in reference.accepted for span in spans(list(words), list(variant))]
    rivals = [span for variant in reference.competing for span in spans(list(words), list(variant))]
    return _outside(right, rivals), _outside(rivals, right)


def _outside(these: Iterable[Span], those: Sequence[Span]) -> list[Span]:
    """Return the spans of `these` that no span of `those` contains."""
    left = [span for span in these if not any(other[0] <= span[0] and span[1] <= other[1] for other in those)]
    return sorted(left, key=lambda span: (span[0] - span[1], span))


def is_asserted(statement: Statement, span: Span, ruled_out: Sequence[bool], reference: Reference) -> bool:
    """Return whether the variant at `span` is asserted with its own unit.

    A variant that contains a negation ("no", "not allowed") is not denied by it; "yes" and "no" count only at the
    beginning of a sentence.
    """
    variant = statement.words[slice(*span)]
    if len(variant) == 1 and variant[0] in _POLAR:
        return span[0] in _sentence_starts(statement.marked) and not _POLAR & set(
            statement.words[span[1] : span[1] + 2]
        )
    negative = any(word in NEGATORS for word in variant)
    return (negative or not any(ruled_out[slice(*span)])) and not _has_other_unit(statement.words, span, reference)


def _sentence_starts(marked: Sequence[str]) -> set[int]:
    """Return the indices of the words that begin the answer or follow a punctuation mark."""
    words = [at for at, token in enumerate(marked) if token not in MARKS]
    return {index for index, at in enumerate(words) if at == 0 or marked[at - 1] in MARKS}


def _has_other_unit(words: Sequence[str], span: Span, reference: Reference) -> bool:
    """Return whether a unit follows the span that neither this number's accepted variants nor the question name."""
    following, number = words[span[1] : span[1] + 1], words[span[0]]
    if not UNITS & set(following) or not any(map(is_number, words[slice(*span)])):
        return False
    units = {word for variant in reference.accepted if number in variant for word in variant if word in UNITS}
    units = units or {word for word in reference.question if word in UNITS}
    if following[0] in _SCALES:
        return bool(units & _SCALES) and following[0] not in units
    return bool(units) and following[0] not in units


def is_only_candidate(statement: Statement, span: Span, ruled_out: Sequence[bool], reference: Reference) -> bool:
    """Return whether the answer names no other candidate, judged by its foreign words.

    Foreign words are content words of neither the question nor a variant; the other content words are shared. A numeric
    answer allows no foreign number. Foreign names and numbers must be fewer than the shared words; if the variant is
    neither a name nor a number and the answer does not restate the question, none are allowed. All foreign words
    together must also be fewer than the shared words: fewer than twice as many if the variant is a name or number or
    the answer restates the question, and fewer than three times as many if both hold. After "yes" or "no" and a
    punctuation mark, only a reason follows.
    """
    variant = statement.words[slice(*span)]
    if len(variant) == 1 and variant[0] in _POLAR and _ends_clause(statement.marked, span[1]):
        return True
    content = {word for word, out in zip(statement.words, ruled_out, strict=True) if content_words(word) and not out}
    shared = {stem(word) for word in content if stem(word) in reference.stems} or set(variant)
    foreign = {word for word in content if stem(word) not in reference.stems}
    numeric = any(map(is_number, variant))
    if numeric and any(is_number(word) and is_ordinal(word) == is_ordinal(variant[0]) for word in foreign):
        return False
    restated = len(shared - {stem(word) for words in reference.accepted for word in words}) >= _RESTATED
    by_form = numeric or reference.capital
    has_case = not reference.capital or bool(
        statement.capitals & set(variant)
    )  # capitals mark names; "drace tule" has none
    rivals = {word for word in foreign if is_number(word) or word in statement.names or not has_case}
    if len(rivals) >= (len(shared) if by_form or restated else 1):
        return False
    return len(foreign) < len(shared) * (1 + by_form + restated)


def _ends_clause(marked: Sequence[str], end: int) -> bool:
    """Return whether a punctuation mark, or nothing, follows the first `end` words."""
    words = [at for at, token in enumerate(marked) if token not in MARKS]
    return words[end - 1] + 1 == len(marked) or marked[words[end - 1] + 1] in MARKS


def restates_question(statement: Statement, reference: Reference) -> bool:
    """Return whether the statement has two content words of the question that are not part of an accepted answer."""
    answers = {stem(word) for words in reference.accepted for word in words}
    asked = {stem(word) for word in reference.question if content_words(word)} - answers
    return len(asked & {stem(word) for word in statement.words}) >= _RESTATED


def is_new_answer(statement: Statement, reference: Reference) -> bool:
    """Return whether a further statement may be another answer.

    It contains a number if one is asked for, or restates the question and names something. A statement that repeats an
    accepted variant is not a new answer.
    """
    if find_variants(statement.words, reference)[0]:
        return False
    numeric = any(is_number(word) for words in reference.accepted for word in words)
    number = any(is_number(word) for word in statement.words)
    return (numeric and number) or (restates_question(statement, reference) and bool(number or statement.names))
