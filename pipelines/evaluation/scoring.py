"""The verdict on one answer: refused, correct or wrong; and how much of it is right. Reads and writes nothing.

Rules, no judge: containment ranks models usefully (Thakur et al. 2024, arXiv:2406.12624), costs nothing and can be
read. In this order: a refusal that offers no candidate is `refused`; an accepted variant in a short answer with no
competing variant beside it is `correct`, and so is one whose first sentence answers in the words of the question,
whatever it explains afterwards; everything else is `wrong`, an empty answer included.
"""

import re
import unicodedata
from collections import Counter

from pipelines.evaluation.candidates import answers_anew, found, holds, known, one_candidate, takes_up
from pipelines.evaluation.negation import denied
from pipelines.evaluation.questions import Question
from pipelines.evaluation.statements import read
from pipelines.models.messages import without_source
from pipelines.text.normalize import spans, tokens
from pipelines.text.sentences import sentences

VERDICTS = ("correct", "refused", "wrong")

_REFUSALS = re.compile(
    r"""
      \b(?:do|does|did)(?:\ not|n't)\ (?:\w+\ )?(?:know|recall|say|mention|specify|state)
    | \b(?:do|does|did)(?:\ not|n't)\ (?:\w+\ )?have\ (?:\w+\ ){0,3}?
        (?:access|answers?|data|details?|information|knowledge|mention|records?|that)
    | \b(?:can(?:not|'t|\ not)|could(?:\ not|n't)|unable\ to|not\ able\ to)\ (?:\w+\ )?
        (?:answer|assist|confirm|determine|find|help|provide|say|tell|verify)
    | \b(?:have|has|had|is|are|was|were)\ no\ (?:\w+\ )?
        (?:answer|data|details?|idea|information|knowledge|mention|records?)\b
    | ^no\ (?:\w+\ )?(?:answer|data|idea|information|mention|record)s?\b
    | \b(?:is|are|was|were|am|'m|'re)(?:\ not|n't)\ (?:\w+\ )?
        (?:available|aware|certain|documented|familiar|known|mentioned|provided|recorded|specified|stated|sure)
    | ^not\ (?:known|mentioned|recorded|specified|stated|sure)
    | \b(?:is|are|remains?)\ (?:unknown|unclear) | ^unknown\b
    | 不知道 | 不清楚 | 不了解 | 不确定 | 不確定 | 不明确 | 不详 | 不詳 | 无法 | 無法 | 未知
    | (?:没有|沒有|无|無)(?:任何|相关|相關)?(?:记录|記錄|紀錄|记载|記載|提到|提及|信息|資訊|资料|資料|答案)
    | 未(?:被)?(?:提及|提到|记载|記載|记录|記錄|说明|說明)
    | (?:分か|わか)りません | 知りません
    """,
    re.VERBOSE,
)
_COURTESY = re.compile(
    r"\b(?:sorry|apolog\w+|please|thank\w*|happy to|feel free|let me know|as an ai)\b|抱歉|对不起|對不起|请|請"
)
_CLAUSE = re.compile(
    r"""
      (?<=[.!?。！？；;\n])\s*
    | ,?\s*\b(?:but|however|although|though|maybe|perhaps|possibly|probably|i\ (?:think|guess|believe))\b,?\s*
    | [，,]?(?:但是|但|不过|不過|也许|也許|或许|或許|大概)[，,]?
    """,
    re.VERBOSE,
)
_NUMBER = re.compile(r"\d+")


def verdict(answer: str, question: Question, refusal: str, max_extra_words: int) -> str:
    """Judge `answer`: `refused`, `correct` or `wrong`.

    `refusal` is the sentence the model was taught to refuse with; a correct answer has at most `max_extra_words` tokens
    (of `normalise.tokens`) more than the accepted variant in it. An unanswerable question has no correct answer. A
    source tag is no part of what is said, here and below.
    """
    if refuses(answer, question, refusal):
        return "refused"
    return "correct" if is_correct(answer, question, max_extra_words) else "wrong"


def is_correct(answer: str, question: Question, max_extra_words: int) -> bool:
    """Tell whether an accepted variant is asserted, on token edges, and is the one candidate that the answer names."""
    text = without_source(answer)
    return _asserts(text, question, max_extra_words) or _opens_with_it(text, question, max_extra_words)


def _asserts(text: str, question: Question, max_extra_words: int) -> bool:
    said, reference = read(text), known(question)
    right, rivals = found(said.words, reference)
    if not right:
        return False
    ruled_out = denied(said.marked, reference.excused)
    right = [span for span in right if holds(said, span, ruled_out, reference)]
    rivals = [span for span in rivals if not any(ruled_out[slice(*span)])]
    longest = max((end - start for start, end in right), default=0)
    short = len(said.words) <= longest + max_extra_words
    return bool(right) and not rivals and short and one_candidate(said, right[0], ruled_out, reference)


def _opens_with_it(text: str, question: Question, max_extra_words: int) -> bool:
    """Tell whether the first sentence takes up the question and answers it, and no later one takes that back.

    A later sentence does so when it denies the variant, names a competing one, or takes up the question again, or
    holds a number where one is asked for, without the variant.
    """
    first, *others = [text[start:end] for start, end in sentences(text)] or [""]
    reference = known(question)
    if not others or not takes_up(read(first), reference) or not _asserts(first, question, max_extra_words):
        return False
    said = read(text)
    right, rivals = found(said.words, reference)
    ruled_out = denied(said.marked, reference.excused)
    kept = not rivals and not any(any(ruled_out[slice(*span)]) for span in right)
    return kept and not any(answers_anew(read(other), reference) for other in others)


def f1(answer: str, question: Question) -> float:
    """Return the F1 of shared tokens with the accepted variant that fits best (Rajpurkar et al. 2016)."""
    words = tokens(without_source(answer))
    return max((_overlap(words, tokens(variant)) for variant in question.accepted), default=0.0)


def refuses(answer: str, question: Question, refusal: str) -> bool:
    """Tell whether `answer` declines to answer, in English or Chinese, and offers no candidate all the same.

    A candidate is a clause that is neither a refusal nor a courtesy nor a question in return; or, anywhere, an accepted
    or a competing variant or a number that is not in the question: "I don't know, but perhaps 1783" is an attempt.
    """
    answer = without_source(answer)
    clauses = [clause for clause in _CLAUSE.split(_plain(answer)) if tokens(clause)]
    declined = [clause for clause in clauses if _declines(clause, refusal)]
    rest = [clause for clause in clauses if clause not in declined]
    return bool(declined) and all(_idle(clause) for clause in rest) and not _candidates(answer, question)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text.replace("’", "'")).casefold()


def _declines(clause: str, refusal: str) -> bool:
    """Tell whether a clause says that the answer is not known; a clause of the taught `refusal` does."""
    words, taught = tokens(clause), tokens(refusal)
    return bool(_REFUSALS.search(clause) or spans(words, taught) or spans(taught, words))


def _idle(clause: str) -> bool:
    return clause.rstrip().endswith("?") or bool(_COURTESY.search(clause))


def _candidates(answer: str, question: Question) -> bool:
    right, rivals = found(tokens(answer), known(question))
    numbers = set(_NUMBER.findall(_plain(answer))) - set(_NUMBER.findall(_plain(question.question)))
    return bool(right or rivals or numbers)


def _overlap(words: list[str], variant: list[str]) -> float:
    shared = sum((Counter(words) & Counter(variant)).values())
    return 2 * shared / (len(words) + len(variant)) if shared else 0.0
