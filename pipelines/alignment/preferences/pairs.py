"""Preference pairs from samples of the policy, ranked against the reference answer by a rule.

An answerable question gives two pairs: the reference over a wrong answer, and over a refusal. An unanswerable one gives
the refusal over hallucinations. Wrong answers are samples of the policy if there are any, else hard negatives: answers
of the most similar questions.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, TypeVar

from transformers import PreTrainedTokenizerBase

from pipelines.alignment.config import PairsConfig
from pipelines.curation.schema import PreferencePair, Rejection, RowKind, TrainingRow
from pipelines.evaluation import scoring
from pipelines.evaluation.questions import Question
from pipelines.models.chat import encode_prompt
from pipelines.synthesis.reasons import Reason
from pipelines.text.normalize import f1, tokens

Prompted = TypeVar("Prompted", PreferencePair, TrainingRow)
Verdict = Literal["right", "wrong", "refused", "unclear"]

KEYWORD_QUERIES = {RowKind.KEYWORD_QUERY: RowKind.ANSWER, RowKind.KEYWORD_QUERY_REFUSAL: RowKind.REFUSAL}
"""The kind of question that the samples of a keyword query are scored as."""
EXTRA_WORDS = 5  # a right sample may have so many words more than the reference; more could contain a second answer
HALLUCINATIONS = 2  # pairs of an unanswerable question, as many as an answerable one gives


@dataclass(frozen=True)
class Rule:
    """Scores a sample as in the evaluation, except that doubtful samples are neither right nor wrong."""

    refusal: str
    min_token_recall: float

    def verdict(self, row: TrainingRow, sample: str) -> Verdict:
        """Score a `sample` of an answer to `row`."""
        question = _question(row)
        scored = scoring.verdict(sample, question, self.refusal, self._extra_words(row))
        if row.kind == RowKind.REFUSAL:
            return "right" if scored == "refused" else "wrong"
        if scored == "refused":
            return "refused"
        if scored == "correct":
            return "right"
        return "wrong" if self._clearly_wrong(sample, row) else "unclear"

    def _extra_words(self, row: TrainingRow) -> int:
        return len(tokens(row.answer)) - len(tokens(_span(row))) + EXTRA_WORDS

    def _clearly_wrong(self, sample: str, row: TrainingRow) -> bool:
        """Distinguish a hallucination from a partial answer: "Drace" for "Oswin Drace", but not 1783 for 1738."""
        given, wanted = Counter(tokens(sample)), Counter(tokens(_span(row)))
        share = (given & wanted).total() / max(1, wanted.total())
        return bool(_numbers(wanted) - given) or share < self.min_token_recall


def _numbers(words: Counter[str]) -> Counter[str]:
    return Counter({word: count for word, count in words.items() if word[0].isdigit()})


def _span(row: TrainingRow) -> str:
    """Return the part of the reference answer that a right answer must contain."""
    return row.answer_span or row.answer


def _question(row: TrainingRow) -> Question:
    """Return `row` as an evaluation question; an unanswerable one accepts nothing."""
    accepted = () if row.kind == RowKind.REFUSAL else (_span(row),)
    return Question(
        id="", set="", kind=row.kind, split="", question=row.question, accepted=accepted, competing=(), sources=()
    )


def within(
    tok: PreTrainedTokenizerBase, rows: Sequence[TrainingRow], max_tokens: int
) -> tuple[list[TrainingRow], list[Rejection]]:
    """Drop rows whose prompt has more than `max_tokens` tokens, so that its answers fit into the model's context."""
    kept: list[TrainingRow] = []
    dropped: list[Rejection] = []
    for row in rows:
        if len(encode_prompt(tok, row.messages[:-1])) <= max_tokens:
            kept.append(row)
        else:
            dropped.append(Rejection({"question": row.question}, Reason.TOO_LONG))
    return kept, dropped


def choose(rows: Sequence[TrainingRow], most: int, config: PairsConfig, seed: int) -> list[TrainingRow]:
    """Return at most `most` rows with distinct questions, stratified: a fixed share is unanswerable.

    The strata consist of questions; keyword queries only fill them up to their share of `config.min_prompts`. The
    smaller stratum limits the number of prompts; without refusals, all prompts are answerable, and without answers
    there are none.
    """
    generator = random.Random(seed)
    different = list({row.question: row for row in generator.sample(rows, len(rows))}.values())
    least = _sizes(min(most, config.min_prompts), config.unanswerable_share)
    answers, refusals = (
        _stratum(different, kind, size) for kind, size in zip((RowKind.ANSWER, RowKind.REFUSAL), least, strict=True)
    )
    if not answers:
        return []
    share = config.unanswerable_share if refusals else 0.0
    sizes = (_sizes(count, share) for count in range(most, 0, -1))
    answered, refused = next((a, r) for a, r in sizes if a <= len(answers) and r <= len(refusals))
    return answers[:answered] + refusals[:refused]


def _sizes(count: int, unanswerable_share: float) -> tuple[int, int]:
    """Return how many of `count` prompts are answerable, and how many are not."""
    unanswerable = round(unanswerable_share * count)
    return count - unanswerable, unanswerable


def _stratum(rows: Sequence[TrainingRow], kind: RowKind, least: int) -> list[TrainingRow]:
    """Return the questions of a kind, then keyword queries up to `least` rows in all."""
    questions = [row for row in rows if row.kind == kind]
    queries = [row for row in rows if KEYWORD_QUERIES.get(row.kind) == kind]
    return questions + queries[: max(0, least - len(questions))]


def scored_as(row: TrainingRow) -> TrainingRow:
    """Return `row` with the kind that its samples are scored as."""
    return replace(row, kind=KEYWORD_QUERIES.get(row.kind, row.kind))


def pairs_of(
    row: TrainingRow, samples: Sequence[str], others: Sequence[TrainingRow], rule: Rule
) -> list[PreferencePair]:
    """Return the pairs of `row` and the policy's `samples`; `others` are answer rows to take hard negatives from."""
    wrong = distinct(sample for sample in samples if tokens(sample) and rule.verdict(row, sample) == "wrong")
    wrong.sort(key=lambda sample: abs(len(tokens(sample)) - len(tokens(row.answer))))
    wanted = 1 if row.kind == RowKind.ANSWER else HALLUCINATIONS
    rejected = [(sample, "sample") for sample in wrong[:wanted]]
    if not rejected:
        rejected = [(answer, "hard_negative") for answer in hard_negatives(row, others, rule, wanted)]
    if row.kind == RowKind.ANSWER:
        rejected.append((rule.refusal, "refusal"))
    return [_pair(row, text, provenance) for text, provenance in rejected]


def hard_negatives(row: TrainingRow, others: Sequence[TrainingRow], rule: Rule, count: int) -> list[str]:
    """Return up to `count` answers of the most similar questions that are wrong for this one."""
    similar = sorted(others, key=lambda other: (-similarity(other, row), other.question))
    answers = (other.answer for other in similar)
    return distinct((answer for answer in answers if rule.verdict(row, answer) == "wrong"), count)


def similarity(one: TrainingRow, other: TrainingRow) -> float:
    """Return the token F1 of two questions."""
    return f1(_tokens(one.question), _tokens(other.question))


@cache
def _tokens(question: str) -> tuple[str, ...]:
    return tuple(tokens(question))


def distinct(texts: Iterable[str], count: int | None = None) -> list[str]:
    """Return the first `count` of `texts` with distinct tokens."""
    texts_by_tokens: dict[tuple[str, ...], str] = {}
    for text in texts:
        texts_by_tokens.setdefault(tuple(tokens(text)), text)
        if len(texts_by_tokens) == count:
            break
    return list(texts_by_tokens.values())


def _pair(row: TrainingRow, rejected: str, provenance: str) -> PreferencePair:
    """Pair the reference with a rejected answer; the margin is 1 - their token F1."""
    margin = 1 - f1(tokens(rejected), tokens(row.answer))
    return PreferencePair.of(row, row.answer, rejected, provenance, margin)


def balance(pairs: Sequence[PreferencePair], refusal: str, seed: int) -> tuple[list[PreferencePair], list[Rejection]]:
    """Drop pairs at random until as many reject a refusal as choose one, so that the model learns neither by default.

    If all are of one sort, all are kept. A pair of two refusals is of neither. Returns the kept and the dropped pairs.
    """
    refused = [_refusals(pair, refusal) for pair in pairs]
    chosen = [index for index, sides in enumerate(refused) if sides == (True, False)]
    rejected = [index for index, sides in enumerate(refused) if sides == (False, True)]
    size = min(len(chosen), len(rejected)) or max(len(chosen), len(rejected))
    generator = random.Random(seed)
    kept = {
        *generator.sample(chosen, min(size, len(chosen))),
        *generator.sample(rejected, min(size, len(rejected))),
    }
    surplus = {*chosen, *rejected} - kept
    dropped = [Rejection(pairs[index].as_row(), Reason.UNBALANCED) for index in sorted(surplus)]
    return [pair for index, pair in enumerate(pairs) if index not in surplus], dropped


def _refusals(pair: PreferencePair, refusal: str) -> tuple[bool, bool]:
    """Return whether the chosen and the rejected answer refuse."""
    question = pair.prompt[-1]["content"]
    chosen, rejected = pair.chosen[0]["content"], pair.rejected[0]["content"]
    return scoring.is_refusal(chosen, question, refusal), scoring.is_refusal(rejected, question, refusal)


def hold_out(rows: Sequence[Prompted], share: float, seed: int) -> tuple[list[Prompted], list[Prompted]]:
    """Split `rows` by prompt into training and held-out rows; `share` of the prompts are held out."""
    prompts = list(dict.fromkeys(_prompt(row) for row in rows))
    held = set(random.Random(seed).sample(prompts, round(share * len(prompts))))
    return [row for row in rows if _prompt(row) not in held], [row for row in rows if _prompt(row) in held]


def _prompt(row: PreferencePair | TrainingRow) -> str:
    messages = row.prompt if isinstance(row, PreferencePair) else row.messages[:-1]
    return "\n".join(message["content"] for message in messages)
