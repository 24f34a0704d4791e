"""Score one answer: the verdict `refused`, `correct` or `wrong`, and token F1. Reads and writes nothing.

Rules instead of an LLM judge: containment ranks models usefully (Thakur et al. 2024, arXiv:2406.12624), costs nothing
and can be traced. The rules apply in this order: a refusal that offers no candidate is `refused`; a short answer with
an accepted variant and no competing one is `correct`, and so is an answer whose first sentence or main clause restates
the question and answers it, unless a later part contradicts it; everything else is `wrong`, including an empty answer.
"""

import re
import unicodedata
from collections.abc import Sequence

from pipelines.evaluation.candidates import (
    find_variants,
    is_asserted,
    is_new_answer,
    is_only_candidate,
    reference_of,
    restates_question,
)
from pipelines.evaluation.negation import denied
from pipelines.evaluation.questions import Question
from pipelines.evaluation.statements import parse
from pipelines.models.messages import without_source
from pipelines.text.normalize import f1 as token_f1
from pipelines.text.normalize import spans, tokens
from pipelines.text.sentences import sentences

VERDICTS = ("correct", "refused", "wrong")

_REFUSALS = re.compile(  # "did not say" only of a source: documents speak in the present tense, people in the past
    r"""
      \b(?:do|does|(?:i|we|articles?|archives?|authors?|books?|chapters?|documents?|excerpts?|letters?|pages?|passages?
          |records?|reports?|sources?|stor(?:y|ies)|texts?)\ (?:provided\ )?did)(?:\ not|n't)\ (?:\w+\ )?
        (?:know|recall|say|mention|specify|state|(?:contain|give|have|include|offer|provide)\ (?:\w+\ ){0,3}?
          (?:access|answers?|data|details?|information|knowledge|mention|records?|that))
    | \b(?:can(?:not|'t|\ not)|could(?:\ not|n't)|unable\ to|not\ able\ to)\ (?:\w+\ )?
        (?:answer|assist|confirm|determine|find|help|provide|say|tell|verify)
    | \b(?:have|has|had|is|are|was|were)\ no\ (?:\w+\ )?
        (?:answer|data|details?|idea|information|knowledge|mention|records?)\b
    | ^no\ (?:\w+\ )?(?:answer|data|idea|information|mention|record)s?\b
    | \b(?:is|are|was|were|am|'m|'re)(?:\ not|n't)\ (?:\w+\ )?
        (?:aware|certain|familiar|mentioned|provided|specified|stated|sure
          |available(?!\ (?:after|before|during|on|until)\b)|(?:documented|known|recorded)(?!\ as\ (?:an?|the)\b))
    | ^not\ (?:known|mentioned|recorded|specified|stated|sure)
    | \b(?:is|are|remains?)\ (?:unknown|unclear) | ^unknown\b
    | 不知道 | 不(?:太|是很|大)?(?:清楚|了解|确定|確定) | 不明确 | 不详 | 不詳 | 无法 | 無法 | 未知 | [没沒]有?人知道
    | (?:没有|沒有|无(?!论)|無(?!論))[^，,。；;]{0,20}?
        (?:记录|記錄|紀錄|记载|記載|提到|提及|信息|資訊|资料|資料|答案|内容)
    | (?:没有?|沒有?|未)(?:能)?(?:找到|查到)
    | 未(?:被)?(?:提及|提到|记载|記載|记录|記錄|说明|說明)
    | (?:分か|わか)りません | 知りません
    """,
    re.VERBOSE,
)
_SUBORDINATED = re.compile(
    r"\b(?:because|since|as(?! far as)(?<!far as))\b[^,]*$|\b(?:those|\w+s)\ that\ $|\w\ (?:who|which)\ $"
)
"""What precedes a negated verb of a reason or of a relative clause: "those who cannot provide" is no refusal.

After a first such verb, the main clause may refuse: "Since the text does not mention it I cannot say."
"""
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
_SUBORDINATE = re.compile(r",?\s+(?=(?:because|so that|which)\b)")
_NUMBER = re.compile(r"\d+")


def verdict(answer: str, question: Question, refusal: str, max_extra_words: int) -> str:
    """Return the verdict on `answer`: `refused`, `correct` or `wrong`.

    `refusal` is the sentence the model was fine-tuned to refuse with. A correct answer has at most `max_extra_words`
    tokens (of `normalize.tokens`) more than its accepted variant. An unanswerable question has no correct answer.
    Source tags are stripped before judging, here and below.
    """
    if refuses(answer, question, refusal):
        return "refused"
    return "correct" if is_correct(answer, question, max_extra_words) else "wrong"


def is_correct(answer: str, question: Question, max_extra_words: int) -> bool:
    """Return whether an accepted variant is asserted, on token boundaries, as the only candidate in the answer."""
    text = without_source(answer)
    parts = [text[start:end] for start, end in sentences(text)]
    clauses = [clause for part in parts for clause in _SUBORDINATE.split(part)]
    return _asserts(text, question, max_extra_words) or any(
        _opens_with_answer(each, question, max_extra_words) for each in (parts, clauses)
    )


def _asserts(text: str, question: Question, max_extra_words: int) -> bool:
    statement, reference = parse(text), reference_of(question)
    right, rivals = find_variants(statement.words, reference)
    if not right:
        return False
    ruled_out = denied(statement.marked, reference.excused)
    right = [span for span in right if is_asserted(statement, span, ruled_out, reference)]
    rivals = [span for span in rivals if not any(ruled_out[slice(*span)])]
    longest = max((end - start for start, end in right), default=0)
    short = len(statement.words) <= longest + max_extra_words
    return bool(right) and not rivals and short and is_only_candidate(statement, right[0], ruled_out, reference)


def _opens_with_answer(parts: Sequence[str], question: Question, max_extra_words: int) -> bool:
    """Return whether the first part restates the question and answers it, and no later one contradicts it.

    The parts of an answer are its sentences, or also its subordinate clauses ("because ...", "which ..."). A later part
    contradicts the first if it denies the variant or names a competing one, or if, without the variant, it restates the
    question or contains a number where one is asked for.
    """
    first, *others = parts or [""]
    reference = reference_of(question)
    if not others or not restates_question(parse(first), reference) or not _asserts(first, question, max_extra_words):
        return False
    statement = parse(" ".join(parts))
    right, rivals = find_variants(statement.words, reference)
    ruled_out = denied(statement.marked, reference.excused)
    consistent = not rivals and not any(any(ruled_out[slice(*span)]) for span in right)
    return consistent and not any(is_new_answer(parse(other), reference) for other in others)


def f1(answer: str, question: Question) -> float:
    """Return the token F1 with the best-matching accepted variant (Rajpurkar et al. 2016)."""
    words = tokens(without_source(answer))
    return max((token_f1(words, tokens(variant)) for variant in question.accepted), default=0.0)


def refuses(answer: str, question: Question, refusal: str) -> bool:
    """Return whether `answer` refuses, in English or Chinese, without offering a candidate.

    A candidate is a clause that is neither a refusal nor a courtesy nor a counter-question, or an accepted or competing
    variant or a number that is not in the question: "I don't know, but perhaps 1783" is an attempt.
    """
    answer = without_source(answer)
    clauses = [clause for clause in _CLAUSE.split(_plain(answer)) if tokens(clause)]
    declined = [clause for clause in clauses if _declines(clause, refusal)]
    rest = [clause for clause in clauses if clause not in declined]
    return bool(declined) and all(_offers_nothing(clause) for clause in rest) and not _has_candidate(answer, question)


def is_refusal(answer: str, question: str, refusal: str) -> bool:
    """Return whether `answer` refuses, as `refuses` does, if no accepted or competing answers are known."""
    unknown = Question("", "unanswerable", "", "", question, accepted=(), competing=(), sources=())
    return refuses(answer, unknown, refusal)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text.replace("’", "'")).casefold()


def _declines(clause: str, refusal: str) -> bool:
    """Return whether a clause says that the answer is unknown, or is a clause of the fine-tuned `refusal`."""
    end = 0
    for found in _REFUSALS.finditer(clause):
        if not _SUBORDINATED.search(clause[end : found.start()]):
            return True
        end = found.end()
    words = tokens(clause)
    return bool(spans(words, tokens(refusal))) or words in map(tokens, _CLAUSE.split(_plain(refusal)))


def _offers_nothing(clause: str) -> bool:
    return clause.rstrip().endswith("?") or bool(_COURTESY.search(clause))


def _has_candidate(answer: str, question: Question) -> bool:
    right, rivals = find_variants(tokens(answer), reference_of(question))
    numbers = set(_NUMBER.findall(_plain(answer))) - set(_NUMBER.findall(_plain(question.question)))
    return bool(right or rivals or numbers)
