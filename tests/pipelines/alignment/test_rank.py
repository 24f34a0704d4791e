"""Ranking: a judge is asked both ways round, the best sample beats the worst, people are believed."""

from pathlib import Path

import pytest

from pipelines.alignment import rank
from pipelines.artifacts import Row, write_rows
from pipelines.llm.prompts import load
from tests.support.teachers import PROMPTS, Script

COMPARE, RATE = load(PROMPTS, "compare"), load(PROMPTS, "rate")


def row(question: str = "Who keeps the lamp?") -> Row:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "Orla Finch."}]
    return {"messages": messages, "kind": "answer", "source": "d1", "evidence": "The lamp is kept by Orla Finch."}


def preferring(best: str) -> Script:
    """A judge that prefers what holds `best`, wherever it stands."""
    return Script(lambda prompt: "A" if best in prompt.split("A: ")[1].split("\n")[0] else "B")


def test_the_judge_sees_source_and_reference_and_is_asked_both_ways() -> None:
    judge = preferring("Orla")
    pairs, dropped = rank.compared([row()], [["It is Orla.", "It is Jory.", "It is Jory."]], judge.ask, COMPARE)
    assert [(each["chosen"][0]["content"], each["rejected"][0]["content"]) for each in pairs] == [
        ("It is Orla.", "It is Jory.")
    ]
    assert not dropped and len(judge.calls) == 2
    assert all("kept by Orla Finch" in call.messages[-1]["content"] for call in judge.calls)


@pytest.mark.parametrize(
    ("says", "reason"), [("A", "tie"), ('{"choice": "C"}', "tie"), ("Both are fine", "no_opinion"), ("?", "no_opinion")]
)
def test_ties_and_no_opinion_are_dropped_with_their_reason(says: str, reason: str) -> None:
    pairs, dropped = rank.compared([row()], [["one", "two"]], Script(lambda _: says).ask, COMPARE)
    assert not pairs and [each["reason"] for each in dropped] == [reason]


def test_scores_are_means_of_opinions_between_0_and_1() -> None:
    said = iter(["10", "Number: 1", "4", "none", "11", "0"])
    assert rank.rated([row()], [["a", "b", "c"]], Script(lambda _: next(said)).ask, RATE, 2) == [
        [0.5, pytest.approx(1 / 3), None]
    ]


def test_the_best_sample_is_paired_with_the_worst() -> None:
    texts = ["good", "best", "awful", "fair", "said nothing of"]
    pairs, dropped = rank.by_score([row()], [texts], [[0.8, 0.9, 0.0, 0.4, None]], "reward")
    (made,) = pairs
    assert (made["chosen"][0]["content"], made["rejected"][0]["content"]) == ("best", "awful")
    assert made["margin"] == pytest.approx(0.9) and not dropped
    pairs, dropped = rank.by_score([row(), row()], [["a", "b"], ["a", "b"]], [[0.5, 0.5], [0.5, None]], "score")
    assert not pairs and [each["reason"] for each in dropped] == ["tie", "no_opinion"]


def test_peoples_choices_in_either_form_and_what_is_wrong_with_them(tmp_path: Path) -> None:
    user = {"role": "user", "content": "Who?"}
    better, worse = ({"role": "assistant", "content": text} for text in ("Orla", "Jory"))
    good = {"prompt": [user], "chosen": [better], "rejected": [worse]}
    rows = [
        good,
        {"prompt": "When?", "chosen": "In May", "rejected": "In June"},
        {"prompt": "When?", "chosen": "In June", "rejected": "In May"},
        {"prompt": "Why?", "chosen": "So", "rejected": "So"},
        {"prompt": "Why?", "chosen": ""},
        {"prompt": [better], "chosen": "a", "rejected": "b"},
    ]
    write_rows(tmp_path / "choices.jsonl", rows)
    pairs, dropped = rank.chosen_by_people(tmp_path)
    assert [(each["prompt"], each["chosen"]) for each in pairs] == [([user], [better])]
    assert sorted(each["reason"] for each in dropped) == ["chosen_both_ways"] * 2 + ["not_a_pair"] * 3


def test_pairs_of_unlike_length_or_little_margin_are_dropped_but_for_refusals() -> None:
    short, long, refusal = "Orla.", "Orla " * 20, "I don't know."
    pairs = [
        rank.pair(row(), short, long, "judge", 1.0),
        rank.pair(row(), long, refusal, "judge", 1.0),
        rank.pair(row(), short, "Jory.", "score", 0.05),
        rank.pair(row(), short, "Jory.", "score", 0.5),
    ]
    kept, dropped = rank.fitting(pairs, refusal, 4.0, 0.1)
    assert kept == [pairs[1], pairs[3]]
    assert [each["reason"] for each in dropped] == ["length", "margin"]
    assert dict(rank.reasons(dropped)) == {"dropped_length": 1.0, "dropped_margin": 1.0}
