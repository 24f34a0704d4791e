"""Which candidates an answer names: accepted and competing variants, and whether the accepted one is the only one.

A list of names and years holds the right one, too, and answers nothing. Candidates can't be told from other words by
form alone, so the bound is on content: most of what an answer says must be the accepted variant's or the question's.
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

_TAKEN_UP = 2  # content words of the question by which an answer is seen to be about it
_SCALES = frozenset(["celsius", "fahrenheit"])
_POLAR = frozenset(["yes", "no"])


@dataclass(frozen=True)
class Reference:
    """A question and its answers as tokens."""

    question: Tokens
    accepted: frozenset[Tokens]
    competing: frozenset[Tokens]
    """Less those that the question itself contains."""
    stems: frozenset[str]
    """Of the question and of all accepted variants."""
    excused: frozenset[str]
    """Words that deny nothing in an answer."""
    capital: bool
    """Whether the answer is a name."""


@lru_cache(maxsize=4096)
def known(question: Question) -> Reference:
    """Return what is known of a question.

    A number is accepted without its unit where the question names the unit: "How many metres" asks for "268".
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


def found(words: Sequence[str], reference: Reference) -> tuple[list[Span], list[Span]]:
    """Return where accepted and where competing variants stand in `words`, the longest first.

    The longer of two names wins where one lies inside the other: "Newton Abbot" is not "Newton", and "New York City" is
    not "York".
    """
    right = [span for variant in reference.accepted for span in spans(list(words), list(variant))]
    rivals = [span for variant in reference.competing for span in spans(list(words), list(variant))]
    return _outside(right, rivals), _outside(rivals, right)


def _outside(these: Iterable[Span], those: Sequence[Span]) -> list[Span]:
    """Return the spans of `these` that lie in none of `those`."""
    left = [span for span in these if not any(other[0] <= span[0] and span[1] <= other[1] for other in those)]
    return sorted(left, key=lambda span: (span[0] - span[1], span))


def holds(said: Statement, span: Span, ruled_out: Sequence[bool], reference: Reference) -> bool:
    """Tell whether the variant at `span` is asserted, and with its own unit.

    A variant that is a negation itself ("no", "not allowed") is not denied by one; "yes" and "no" answer at the
    beginning of a sentence only.
    """
    variant = said.words[slice(*span)]
    if len(variant) == 1 and variant[0] in _POLAR:
        return span[0] in _beginnings(said.marked) and not _POLAR & set(said.words[span[1] : span[1] + 2])
    negative = any(word in NEGATORS for word in variant)
    return (negative or not any(ruled_out[slice(*span)])) and not _other_unit(said.words, span, reference)


def _beginnings(marked: Sequence[str]) -> set[int]:
    """Return which words begin the answer or follow a mark."""
    words = [at for at, token in enumerate(marked) if token not in MARKS]
    return {index for index, at in enumerate(words) if at == 0 or marked[at - 1] in MARKS}


def _other_unit(words: Sequence[str], span: Span, reference: Reference) -> bool:
    """Tell whether a unit follows the span that neither the accepted variants of this number nor the question name."""
    following, number = words[span[1] : span[1] + 1], words[span[0]]
    if not UNITS & set(following) or not any(map(is_number, words[slice(*span)])):
        return False
    units = {word for variant in reference.accepted if number in variant for word in variant if word in UNITS}
    units = units or {word for word in reference.question if word in UNITS}
    if following[0] in _SCALES:
        return bool(units & _SCALES) and following[0] not in units
    return bool(units) and following[0] not in units


def one_candidate(said: Statement, span: Span, ruled_out: Sequence[bool], reference: Reference) -> bool:
    """Tell whether the answer names nothing else that could be meant: what is foreign to question and variants.

    A number stands alone, but for numbers of the question. Foreign names and numbers must be fewer than the words that
    are the question's or a variant's; beside an answer that is neither name nor number, in words that take up nothing
    of the question, there is none. All foreign words must be fewer, too; where a name or number is asked for, which
    other words are not, or the question is taken up, fewer than twice as many, and three times where both are so.
    """
    variant = said.words[slice(*span)]
    content = {word for word, out in zip(said.words, ruled_out, strict=True) if content_words(word) and not out}
    shared = {stem(word) for word in content if stem(word) in reference.stems} or set(variant)
    foreign = {word for word in content if stem(word) not in reference.stems}
    numeric = any(map(is_number, variant))
    if numeric and any(is_number(word) and is_ordinal(word) == is_ordinal(variant[0]) for word in foreign):
        return False
    taken_up = len(shared - {stem(word) for words in reference.accepted for word in words}) >= _TAKEN_UP
    by_form = numeric or reference.capital
    told_apart = not reference.capital or bool(said.capitals & set(variant))  # by capitals: "drace tule" has none
    rivals = {word for word in foreign if is_number(word) or word in said.names or not told_apart}
    if len(rivals) >= (len(shared) if by_form or taken_up else 1):
        return False
    return len(foreign) < len(shared) * (1 + by_form + taken_up)


def takes_up(said: Statement, reference: Reference) -> bool:
    """Tell whether the statement has two content words of the question that are no answer to it."""
    answers = {stem(word) for words in reference.accepted for word in words}
    asked = {stem(word) for word in reference.question if content_words(word)} - answers
    return len(asked & {stem(word) for word in said.words}) >= _TAKEN_UP


def answers_anew(said: Statement, reference: Reference) -> bool:
    """Tell whether a further statement may be another answer, as one that repeats an accepted variant is not.

    It holds a number where one is asked for, or takes up the question and names something.
    """
    if found(said.words, reference)[0]:
        return False
    numeric = any(is_number(word) for words in reference.accepted for word in words)
    number = any(is_number(word) for word in said.words)
    return (numeric and number) or (takes_up(said, reference) and bool(number or said.names))
