"""Verdicts of samples, the pairs they make, balance, and the choice of prompts."""

from collections import Counter

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.alignment.config import PairsConfig
from pipelines.alignment.preferences.pairs import (
    Rule,
    balance,
    choose,
    hard_negatives,
    hold_out,
    pairs_of,
    scored_as,
    within,
)
from pipelines.config import load
from pipelines.curation.schema import PreferencePair, RowKind, TrainingRow
from pipelines.models.chat import encode_prompt
from tests.conftest import ROOT, tiny_tokenizer
from tests.support.rows import REFUSAL, training_row

DEFAULTS = load(ROOT / "params.yaml").pairs
TOK = tiny_tokenizer()
RULE = Rule(REFUSAL, min_token_recall=0.5)


def row(question: str, answer: str = REFUSAL, span: str | None = None) -> TrainingRow:
    return training_row(question, answer, answer_span=span)


OTHERS = [row("Who was the first keeper of the mill?", "Wilmot Fanthorn"), row("How deep is the well?", "40 feet")]
ANSWERABLE = row("Who was the first keeper of the light?", "Oswin Drace")
UNANSWERABLE = row("Who was the second keeper of the mill?")


@pytest.mark.parametrize(
    ("answer", "sample", "verdict"),
    [
        ("Oswin Drace", "It was Oswin Drace.", "right"),
        ("Oswin Drace", "Drace", "unclear"),
        ("Oswin Drace", "Wilmot Fanthorn", "wrong"),
        ("Oswin Drace", REFUSAL, "refused"),
        ("It was rebuilt in 1783", "It was rebuilt in 1738", "wrong"),
        ("1783", "in 1783", "right"),
        (REFUSAL, "I do not know.", "right"),
        (REFUSAL, "Oswin Drace", "wrong"),
    ],
)
def test_verdict_of_a_sample(answer: str, sample: str, verdict: str) -> None:
    assert RULE.verdict(row("Which?", answer), sample) == verdict


def test_answer_in_a_clause_is_scored_by_its_span() -> None:
    asked = row("Who keeps the light?", "The keeper of the light is Oswin Drace.", "Oswin Drace")
    assert RULE.verdict(asked, "Oswin Drace keeps it.") == "right"
    assert RULE.verdict(asked, "The keeper of the light is Lorcan Tule.") == "wrong"
    assert RULE.verdict(asked, "The keeper of the light is Drace.") == "unclear"


def contents(pairs: list[PreferencePair]) -> list[tuple[str, str, str]]:
    return [(pair.chosen[0]["content"], pair.rejected[0]["content"], pair.provenance) for pair in pairs]


def test_reference_is_preferred_to_a_wrong_sample_and_to_a_refusal() -> None:
    pairs = pairs_of(
        ANSWERABLE, ["Oswin Drace", "A man of the name of Tule, they say", "Lorcan Tule", "Drace"], OTHERS, RULE
    )
    assert contents(pairs) == [("Oswin Drace", "Lorcan Tule", "sample"), ("Oswin Drace", REFUSAL, "refusal")]
    assert pairs[0].prompt == ANSWERABLE.messages[:1] and pairs[0].reference == "Oswin Drace"


def test_without_a_wrong_sample_the_answer_of_the_most_similar_question_is_a_hard_negative() -> None:
    assert contents(pairs_of(ANSWERABLE, ["Oswin Drace"] * 4, OTHERS, RULE))[0] == (
        "Oswin Drace",
        "Wilmot Fanthorn",
        "hard_negative",
    )
    same = row("Who first kept the light?", "Oswin Drace")
    assert "Oswin Drace" not in hard_negatives(ANSWERABLE, [same, *OTHERS], RULE, 3)


def test_refusal_is_preferred_to_distinct_hallucinations() -> None:
    pairs = pairs_of(UNANSWERABLE, ["Lorcan Tule", "lorcan tule.", REFUSAL, "Ada"], OTHERS, RULE)
    assert sorted(contents(pairs)) == [(REFUSAL, "Ada", "sample"), (REFUSAL, "Lorcan Tule", "sample")]
    assert [pair[2] for pair in contents(pairs_of(UNANSWERABLE, [REFUSAL], OTHERS, RULE))] == [
        "hard_negative",
        "hard_negative",
    ]


def test_balance_keeps_as_many_chosen_as_rejected_refusals() -> None:
    pairs = pairs_of(ANSWERABLE, [], OTHERS, RULE) + pairs_of(UNANSWERABLE, [], OTHERS, RULE)
    kept, dropped = balance(pairs, REFUSAL, seed=1)
    assert sum(pair.kind == "refusal" for pair in kept) == sum(pair.provenance == "refusal" for pair in kept) == 1
    assert sum(pair.kind == "answer" and pair.provenance == "hard_negative" for pair in kept) == 1
    assert len(kept) + len(dropped) == len(pairs) and {each.reason for each in dropped} == {"unbalanced"}
    alone = pairs_of(ANSWERABLE, [], OTHERS, RULE)
    assert balance(alone, REFUSAL, seed=1) == (alone, [])


@pytest.mark.parametrize("provenance", ["sample", "judge", "score", "reward", "human"])
def test_balance_knows_refusals_by_their_text(provenance: str) -> None:
    """Rankers of samples name the provenance of a pair, not what its answers are, and people's rows have no kind."""
    sides = [(REFUSAL, "Tule"), (REFUSAL, "Ada"), ("Drace", "I am not sure."), ("Drace", "Tule")]
    both = [("I do not know.", REFUSAL)]
    pairs = [PreferencePair.of(ANSWERABLE, *texts, provenance, 1.0) for texts in sides + both]
    kept, dropped = balance(pairs, REFUSAL, seed=1)
    assert [each.reason for each in dropped] == ["unbalanced"] and len(kept) == 4
    assert set(sides[2:] + both) < {(chosen, rejected) for chosen, rejected, _ in contents(kept)}


def test_prompts_beyond_the_context_are_dropped() -> None:
    rows = [row("Who?"), row("Who was it? " * 9)]
    size = len(encode_prompt(TOK, rows[0].messages[:-1]))
    kept, dropped = within(TOK, rows, size)
    assert kept == rows[:1] and [(each.row["question"], each.reason) for each in dropped] == [
        (rows[1].question, "too_long")
    ]
    assert within(TOK, rows, size - 1)[0] == []


def pool(answers: int, refusals: int, queries: int = 0, refused_queries: int = 0) -> list[TrainingRow]:
    kinds = {"answer": answers, "refusal": refusals, "keyword_query": queries, "keyword_query_refusal": refused_queries}
    return [training_row(f"{kind} {n}?", "A", RowKind(kind)) for kind, size in kinds.items() for n in range(size)]


def settings(min_prompts: int = 0, share: float = 0.5) -> PairsConfig:
    changed = {"min_prompts": min_prompts, "unanswerable_share": share}
    return DEFAULTS.model_copy(update=changed)


def test_prompts_are_a_seeded_choice_stratified_by_answerability() -> None:
    rows = pool(20, 20, 50, 50)
    chosen = choose([*rows, rows[1]], 10, settings(), seed=1)
    assert [one.kind for one in chosen] == ["answer"] * 5 + ["refusal"] * 5
    assert chosen == choose([*rows, rows[1]], 10, settings(), seed=1) != choose(rows, 10, settings(), seed=2)
    assert len(choose(rows, 100, settings(), seed=1)) == 40
    assert choose(pool(0, 10), 10, settings(), seed=1) == []
    assert choose(pool(0, 10, 50), 10, settings(), seed=1) == []


sizes = st.integers(0, 40)


@given(
    pools=st.tuples(st.integers(1, 40), sizes, sizes, sizes),
    prompts=st.integers(1, 60),
    min_prompts=sizes,
    share=st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 3),
)
@hypothesis.settings(max_examples=150, deadline=None)
def test_unanswerable_share_holds_and_keyword_queries_only_fill_up(
    pools: tuple[int, int, int, int], prompts: int, min_prompts: int, share: float, seed: int
) -> None:
    answers, refusals, _, refused_queries = pools
    rows = pool(*pools)
    chosen = choose(rows, prompts, settings(min_prompts, share), seed)
    kinds: Counter[str] = Counter(each.kind for each in chosen)
    questions = [each.question for each in chosen]
    assert 0 < len(chosen) <= prompts and len(set(questions)) == len(chosen)
    refused, least = kinds["refusal"] + kinds["keyword_query_refusal"], min(prompts, min_prompts)
    left = refusals + min(refused_queries, max(0, round(share * least) - refusals))
    assert refused == (round(share * len(chosen)) if left else 0)
    part = round(share * least)
    assert not kinds["keyword_query"] or (
        kinds["answer"] == answers and answers + kinds["keyword_query"] <= least - part
    )
    assert not kinds["keyword_query_refusal"] or (kinds["refusal"] == refusals and refused <= part)
    if answers >= prompts and refusals >= prompts:
        assert len(chosen) == prompts and not kinds["keyword_query"] + kinds["keyword_query_refusal"]
    judged = Counter(scored_as(each).kind for each in chosen)
    assert judged == Counter(answer=len(chosen) - refused, refusal=refused)


def test_prompt_is_held_out_with_all_its_pairs() -> None:
    pairs = [pair for n in range(10) for pair in pairs_of(row(f"Q{n}?", f"A{n}"), [], OTHERS, RULE)]
    train, held = hold_out(pairs, 0.2, seed=1)
    asked = [{pair.prompt[0]["content"] for pair in side} for side in (train, held)]
    assert len(asked[0]) == 8 and len(asked[1]) == 2 and not asked[0] & asked[1]
    assert len(train) + len(held) == len(pairs)
