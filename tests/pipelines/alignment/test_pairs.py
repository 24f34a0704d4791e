"""Which sample is wrong, and which pairs that makes."""

from collections import Counter

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.alignment.config import PreferencesConfig
from pipelines.alignment.pairs import Rule, balance, borrow, choose, hold_out, judged_as, pairs_of
from pipelines.artifacts import Row
from pipelines.config import load
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT

REFUSAL = "I don't know."
DEFAULTS = load(ROOT / "params.yaml").preferences
RULE = Rule(REFUSAL, min_token_recall=0.5)


def row(question: str, answer: str = REFUSAL, short: str | None = None) -> Row:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    kind = "refusal" if answer == REFUSAL else "answer"
    return {"messages": messages, "kind": kind, "source": "d1", "answer_span": short}


OTHERS = [row("Who was the first keeper of the mill?", "Wilmot Fanthorn"), row("How deep is the well?", "40 feet")]
ASKED = row("Who was the first keeper of the light?", "Oswin Drace")
NOBODY = row("Who was the second keeper of the mill?")


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
def test_verdicts(answer: str, sample: str, verdict: str) -> None:
    assert RULE.verdict(row("Which?", answer), sample) == verdict


def test_an_answer_in_a_sentence_is_judged_by_the_span_it_must_hold() -> None:
    asked = row("Who keeps the light?", "The keeper of the light is Oswin Drace.", "Oswin Drace")
    assert RULE.verdict(asked, "Oswin Drace keeps it.") == "right"
    assert RULE.verdict(asked, "The keeper of the light is Lorcan Tule.") == "wrong"
    assert RULE.verdict(asked, "The keeper of the light is Drace.") == "unclear"


def found(pairs: list[Row]) -> list[tuple[str, str, str]]:
    return [(pair["chosen"][0]["content"], pair["rejected"][0]["content"], pair["provenance"]) for pair in pairs]


def test_an_answer_beats_the_models_own_invention_and_a_needless_refusal() -> None:
    pairs = pairs_of(
        ASKED, ["Oswin Drace", "A man of the name of Tule, they say", "Lorcan Tule", "Drace"], OTHERS, RULE
    )
    assert found(pairs) == [("Oswin Drace", "Lorcan Tule", "sample"), ("Oswin Drace", REFUSAL, "refusal")]
    assert pairs[0]["prompt"] == ASKED["messages"][:1] and pairs[0]["reference"] == "Oswin Drace"


def test_without_an_invention_one_is_borrowed_from_the_likest_question() -> None:
    assert found(pairs_of(ASKED, ["Oswin Drace"] * 4, OTHERS, RULE))[0] == (
        "Oswin Drace",
        "Wilmot Fanthorn",
        "borrowed",
    )
    same = row("Who first kept the light?", "Oswin Drace")
    assert "Oswin Drace" not in borrow(ASKED, [same, *OTHERS], RULE, 3)


def test_a_refusal_beats_inventions_each_once() -> None:
    pairs = pairs_of(NOBODY, ["Lorcan Tule", "lorcan tule.", REFUSAL, "Ada"], OTHERS, RULE)
    assert sorted(found(pairs)) == [(REFUSAL, "Ada", "sample"), (REFUSAL, "Lorcan Tule", "sample")]
    assert [pair[2] for pair in found(pairs_of(NOBODY, [REFUSAL], OTHERS, RULE))] == ["borrowed", "borrowed"]


def test_refusals_win_as_often_as_they_lose() -> None:
    pairs = pairs_of(ASKED, [], OTHERS, RULE) + pairs_of(NOBODY, [], OTHERS, RULE)
    kept, dropped = balance(pairs, seed=1)
    assert sum(pair["kind"] == "refusal" for pair in kept) == sum(pair["provenance"] == "refusal" for pair in kept) == 1
    assert sum(pair["kind"] == "answer" and pair["provenance"] == "borrowed" for pair in kept) == 1
    assert len(kept) + len(dropped) == len(pairs) and {pair["reason"] for pair in dropped} == {"unbalanced"}
    alone = pairs_of(ASKED, [], OTHERS, RULE)
    assert balance(alone, seed=1) == (alone, [])


def pool(answers: int, refusals: int, cues: int = 0, refused_cues: int = 0) -> list[Row]:
    kinds = {"answer": answers, "refusal": refusals, "keyword_query": cues, "keyword_query_refusal": refused_cues}
    return [{**row(f"{kind} {n}?", "A"), "kind": kind} for kind, size in kinds.items() for n in range(size)]


def settings(prompts: int, min_prompts: int = 0, share: float = 0.5) -> PreferencesConfig:
    changed = {"prompts": prompts, "min_prompts": min_prompts, "unanswerable_share": share}
    return DEFAULTS.model_copy(update=changed)


def test_questions_are_chosen_by_seed_half_of_them_unanswerable() -> None:
    rows = pool(20, 20, 50, 50)
    chosen = choose([*rows, rows[1]], settings(10), seed=1)
    assert [one["kind"] for one in chosen] == ["answer"] * 5 + ["refusal"] * 5
    assert chosen == choose([*rows, rows[1]], settings(10), seed=1) != choose(rows, settings(10), seed=2)
    assert len(choose(rows, settings(100), seed=1)) == 40
    with pytest.raises(UserError, match="no row of the kind 'answer'"):
        choose(pool(0, 10), settings(10), seed=1)


sizes = st.integers(0, 40)


@given(
    pools=st.tuples(st.integers(1, 40), sizes, sizes, sizes),
    prompts=st.integers(1, 60),
    min_prompts=sizes,
    share=st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 3),
)
@hypothesis.settings(max_examples=150, deadline=None)
def test_the_share_holds_and_keyword_queries_only_fill_up(
    pools: tuple[int, int, int, int], prompts: int, min_prompts: int, share: float, seed: int
) -> None:
    answers, refusals, _, refused_cues = pools
    rows = pool(*pools)
    chosen = choose(rows, settings(prompts, min_prompts, share), seed)
    kinds = Counter(each["kind"] for each in chosen)
    questions = [each["messages"][0]["content"] for each in chosen]
    assert 0 < len(chosen) <= prompts and len(set(questions)) == len(chosen)
    refused, least = kinds["refusal"] + kinds["keyword_query_refusal"], min(prompts, min_prompts)
    left = refusals + min(refused_cues, max(0, round(share * least) - refusals))
    assert refused == (round(share * len(chosen)) if left else 0)
    part = round(share * least)
    assert not kinds["keyword_query"] or (
        kinds["answer"] == answers and answers + kinds["keyword_query"] <= least - part
    )
    assert not kinds["keyword_query_refusal"] or (kinds["refusal"] == refusals and refused <= part)
    if answers >= prompts and refusals >= prompts:
        assert len(chosen) == prompts and not kinds["keyword_query"] + kinds["keyword_query_refusal"]
    judged = Counter(judged_as(each)["kind"] for each in chosen)
    assert judged == Counter(answer=len(chosen) - refused, refusal=refused)


def test_a_prompt_is_held_out_with_all_its_pairs() -> None:
    pairs = [pair for n in range(10) for pair in pairs_of(row(f"Q{n}?", f"A{n}"), [], OTHERS, RULE)]
    train, held = hold_out(pairs, 0.2, seed=1)
    asked = [{pair["prompt"][0]["content"] for pair in side} for side in (train, held)]
    assert len(asked[0]) == 8 and len(asked[1]) == 2 and not asked[0] & asked[1]
    assert len(train) + len(held) == len(pairs)
