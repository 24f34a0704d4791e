"""Preference pairs from samples of the model itself, ranked against the reference answer by a plain rule.

An answerable question gives two pairs: the reference over a wrong answer, and over a needless refusal. An
unanswerable one gives the refusal over inventions. Wrong answers are the model's own samples where it made
any; else they are borrowed from the question most like this one that has another answer.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from pipelines.alignment.config import PreferencesConfig
from pipelines.artifacts import Row
from pipelines.evaluation import scoring
from pipelines.evaluation.questions import Question
from pipelines.runtime.errors import UserError
from pipelines.text.normalize import tokens

Verdict = Literal["right", "wrong", "refused", "unclear"]

KEYWORD_QUERIES = {"keyword_query": "answer", "keyword_query_refusal": "refusal"}
"""The kinds of rows that ask in a few words of a text rather than in a question, and the kinds they are judged as."""
SPARE_WORDS = 5  # a right sample may be this much longer than the reference; more could hold a second answer
INVENTIONS = 2  # pairs an unanswerable question gives: as many as an answerable one


@dataclass(frozen=True)
class Rule:
    """When a sample is right, wrong, or a refusal: as in the evaluation, but in doubt it is none of them."""

    refusal: str
    min_token_recall: float

    def verdict(self, row: Row, sample: str) -> Verdict:
        """Judge a `sample` of the answer to `row`."""
        question = _question(row)
        found = scoring.verdict(sample, question, self.refusal, self._extra_words(row))
        if row["kind"] == "refusal":
            return "right" if found == "refused" else "wrong"
        if found == "refused":
            return "refused"
        if found == "correct":
            return "right"
        return "wrong" if self._clearly_wrong(sample, row) else "unclear"

    def _extra_words(self, row: Row) -> int:
        return len(tokens(_answer(row))) - len(tokens(_short(row))) + SPARE_WORDS

    def _clearly_wrong(self, sample: str, row: Row) -> bool:
        """Tell an invention from half an answer: "Drace" for "Oswin Drace" is no lie, 1783 for 1738 is."""
        said, wanted = Counter(tokens(sample)), Counter(tokens(_short(row)))
        share = (said & wanted).total() / max(1, wanted.total())
        return bool(_numbers(wanted) - said) or share < self.min_token_recall


def _numbers(words: Counter[str]) -> Counter[str]:
    return Counter({word: count for word, count in words.items() if word[0].isdigit()})


def _asked(row: Row) -> str:
    question: str = row["messages"][-2]["content"]
    return question


def _answer(row: Row) -> str:
    answer: str = row["messages"][-1]["content"]
    return answer


def _short(row: Row) -> str:
    """Return the part of the reference answer that a right one must hold."""
    return str(row["answer_span"] or _answer(row))


def _question(row: Row) -> Question:
    """Return `row` as the evaluation would ask it; an unanswerable one accepts nothing."""
    answers = () if row["kind"] == "refusal" else (_short(row),)
    return Question(
        id="", set="", kind=row["kind"], split="", question=_asked(row), accepted=answers, competing=(), sources=()
    )


def choose(rows: Sequence[Row], config: PreferencesConfig, seed: int) -> list[Row]:
    """Return at most `config.prompts` rows, each of another question, stratified: a fixed share is unanswerable.

    Each stratum holds questions; keyword queries only fill it up to its part of `config.min_prompts`. The scarcer
    stratum decides how many prompts there are; an empty one leaves all places to the other.

    Raises:
        UserError: there is no answer row to ask about.
    """
    generator = random.Random(seed)
    different = list({_asked(row): row for row in generator.sample(rows, len(rows))}.values())
    least = _sizes(min(config.prompts, config.min_prompts), config.unanswerable_share)
    answers, refusals = (
        _stratum(different, kind, size) for kind, size in zip(("answer", "refusal"), least, strict=True)
    )
    if not answers:
        raise UserError(
            "artifacts/curate/preference_prompts.jsonl has no row of the kind 'answer'; see curate's rejects.jsonl."
        )
    share = config.unanswerable_share if refusals else 0.0
    sizes = (_sizes(count, share) for count in range(config.prompts, 0, -1))
    answered, refused = next((a, r) for a, r in sizes if a <= len(answers) and r <= len(refusals))
    return answers[:answered] + refusals[:refused]


def _sizes(count: int, unanswerable_share: float) -> tuple[int, int]:
    """Return how many of `count` prompts have an answer, and how many have none."""
    unanswerable = round(unanswerable_share * count)
    return count - unanswerable, unanswerable


def _stratum(rows: Sequence[Row], kind: str, least: int) -> list[Row]:
    """Return the questions of a kind, then as many keyword queries as are missing to `least`."""
    questions = [row for row in rows if row["kind"] == kind]
    queries = [row for row in rows if KEYWORD_QUERIES.get(row["kind"]) == kind]
    return questions + queries[: max(0, least - len(questions))]


def judged_as(row: Row) -> Row:
    """Return a row with the kind that its samples are judged as."""
    return {**row, "kind": KEYWORD_QUERIES.get(row["kind"], row["kind"])}


def pairs_of(row: Row, samples: Sequence[str], others: Sequence[Row], rule: Rule) -> list[Row]:
    """Return the pairs that `row` and the model's `samples` give; `others` are answer rows to borrow from."""
    wrong = distinct(sample for sample in samples if tokens(sample) and rule.verdict(row, sample) == "wrong")
    wrong.sort(key=lambda sample: abs(len(tokens(sample)) - len(tokens(_answer(row)))))
    wanted = 1 if row["kind"] == "answer" else INVENTIONS
    rejected = [(sample, "sample") for sample in wrong[:wanted]]
    if not rejected:
        rejected = [(answer, "borrowed") for answer in borrow(row, others, rule, wanted)]
    if row["kind"] == "answer":
        rejected.append((rule.refusal, "refusal"))
    return [_pair(row, text, provenance) for text, provenance in rejected]


def borrow(row: Row, others: Sequence[Row], rule: Rule, count: int) -> list[str]:
    """Return up to `count` answers that are wrong here, from the questions most like this one."""
    like = sorted(others, key=lambda other: (-likeness(other, row), _asked(other)))
    answers = (_answer(other) for other in like)
    return distinct((answer for answer in answers if rule.verdict(row, answer) == "wrong"), count)


def likeness(one: Row, other: Row) -> float:
    """Return the F1 of the words of two questions."""
    left, right = _words(_asked(one)), _words(_asked(other))
    return 2 * (left & right).total() / max(1, left.total() + right.total())


@cache
def _words(question: str) -> Counter[str]:
    return Counter(tokens(question))


def distinct(texts: Iterable[str], count: int | None = None) -> list[str]:
    """Return the first `count` of `texts` that normalise differently."""
    found: dict[tuple[str, ...], str] = {}
    for text in texts:
        found.setdefault(tuple(tokens(text)), text)
        if len(found) == count:
            break
    return list(found.values())


def _pair(row: Row, rejected: str, provenance: str) -> Row:
    """`margin`: how far the rejected answer is from the reference, in token F1."""
    *prompt, answer = row["messages"]
    return {
        "prompt": prompt,
        "chosen": [answer],
        "rejected": [{"role": "assistant", "content": rejected}],
        "kind": row["kind"],
        "source": row["source"],
        "reference": answer["content"],
        "provenance": provenance,
        "margin": 1 - _f1(tokens(rejected), tokens(answer["content"])),
    }


def _f1(one: list[str], other: list[str]) -> float:
    shared = (Counter(one) & Counter(other)).total()
    return 2 * shared / max(1, len(one) + len(other))


def balance(pairs: Sequence[Row], seed: int) -> tuple[list[Row], list[Row]]:
    """Drop pairs at random until as many reject a refusal as choose one, so that neither always wins.

    When there is only one of the two, all are kept. Returns the kept and the dropped.
    """
    chosen = [index for index, pair in enumerate(pairs) if pair["kind"] == "refusal"]
    rejected = [index for index, pair in enumerate(pairs) if pair["provenance"] == "refusal"]
    fewer = min(len(chosen), len(rejected)) or max(len(chosen), len(rejected))
    generator = random.Random(seed)
    kept = {
        *generator.sample(chosen, min(fewer, len(chosen))),
        *generator.sample(rejected, min(fewer, len(rejected))),
    }
    spare = {*chosen, *rejected} - kept
    dropped = [{**pairs[index], "reason": "unbalanced"} for index in sorted(spare)]
    return [pair for index, pair in enumerate(pairs) if index not in spare], dropped


def hold_out(pairs: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Split `pairs` by prompt, all pairs of one on the same side; `share` of the prompts go to the second."""
    prompts = list(dict.fromkeys(_prompt(pair) for pair in pairs))
    held = set(random.Random(seed).sample(prompts, round(share * len(prompts))))
    return [pair for pair in pairs if _prompt(pair) not in held], [pair for pair in pairs if _prompt(pair) in held]


def _prompt(pair: Row) -> str:
    return "\n".join(message["content"] for message in pair["prompt"])
