"""Ranking: both orders of a judge's comparison, best and worst by score, and people's choices."""

from pathlib import Path
from typing import Literal

import pytest

from pipelines import config
from pipelines.alignment.config import PairsConfig
from pipelines.alignment.preferences import rank
from pipelines.artifacts import Row, write_rows
from pipelines.curation.schema import PreferencePair, TrainingRow
from pipelines.llm.prompts import load
from tests.conftest import ROOT, tiny_tokenizer
from tests.support.rows import training_row
from tests.support.teachers import PROMPTS, Script

COMPARE, RATE = load(PROMPTS, "compare"), load(PROMPTS, "rate")


def row(question: str = "Who keeps the lamp?") -> TrainingRow:
    return training_row(question, "Orla Finch.", evidence="The lamp is kept by Orla Finch.")


def settings(**changes: object) -> PairsConfig:
    return config.load(ROOT / "params.yaml").pairs.model_copy(update=changes)


def preferring(best: str) -> Script:
    """Return a judge that prefers the answer with `best` in either position."""
    return Script(lambda prompt: "A" if best in prompt.split("A: ")[1].split("\n")[0] else "B")


def test_judge_gets_source_and_reference_in_both_orders() -> None:
    judge = preferring("Orla")
    pairs, dropped = rank.compared([row()], [["It is Orla.", "It is Jory.", "It is Jory."]], judge.ask, COMPARE)
    assert [(each.chosen[0]["content"], each.rejected[0]["content"]) for each in pairs] == [
        ("It is Orla.", "It is Jory.")
    ]
    assert not dropped and len(judge.calls) == 2
    assert all("kept by Orla Finch" in call.messages[-1]["content"] for call in judge.calls)


@pytest.mark.parametrize(
    ("says", "reason"), [("A", "tie"), ('{"choice": "C"}', "tie"), ("Both are fine", "no_opinion"), ("?", "no_opinion")]
)
def test_ties_and_missing_verdicts_are_dropped_with_their_reason(says: str, reason: str) -> None:
    pairs, dropped = rank.compared([row()], [["one", "two"]], Script(lambda _: says).ask, COMPARE)
    assert not pairs and [each.reason for each in dropped] == [reason]


def test_prompts_with_fewer_than_two_samples_are_dropped_with_their_reason() -> None:
    """A prompt without a sample has been dropped before."""
    rows, samples = [row(), row("Why?")], [["same", "Same."], []]
    pairs, dropped = rank.compared(rows, samples, Script(lambda _: "A").ask, COMPARE)
    assert not pairs and [each.as_row() for each in dropped] == [
        {"question": "Who keeps the lamp?", "samples": ["same"], "reason": "tie"}
    ]
    pairs, dropped = rank.by_score(rows, [["same"], []], [[0.5], []], "score", "best_worst")
    assert not pairs and [each.reason for each in dropped] == ["tie"]


def test_scores_are_means_of_ratings_between_0_and_1() -> None:
    replies = iter(["10", "Number: 1", "4", "none", "11", "0"])
    assert rank.rated(
        [row()], [["a", "b", "c"]], Script(lambda _: next(replies)).ask, RATE, settings(judge_samples=2)
    ) == [[0.5, pytest.approx(1 / 3), None]]


def test_best_sample_is_paired_with_the_worst() -> None:
    texts = ["good", "best", "awful", "fair", "said nothing of"]
    pairs, dropped = rank.by_score([row()], [texts], [[0.8, 0.9, 0.0, 0.4, None]], "reward", "best_worst")
    (best,) = pairs
    assert (best.chosen[0]["content"], best.rejected[0]["content"]) == ("best", "awful")
    assert best.margin == pytest.approx(0.9) and not dropped


@pytest.mark.parametrize("ranked_pairs", ["best_worst", "all"])
def test_equal_or_missing_scores_give_no_pair(ranked_pairs: Literal["best_worst", "all"]) -> None:
    scores: list[list[float | None]] = [[0.5, 0.5], [0.5, None], [None, None]]
    pairs, dropped = rank.by_score([row()] * 3, [["a", "b"]] * 3, scores, "score", ranked_pairs)
    assert not pairs and [each.reason for each in dropped] == ["tie", "no_opinion", "no_opinion"]


def test_all_distinct_samples_with_different_scores_are_paired() -> None:
    texts = ["fair", "best", "Best!", "worst", "as fair", "unrated"]
    pairs, dropped = rank.by_score([row()], [texts], [[0.5, 0.9, 0.8, 0.1, 0.5, None]], "score", "all")
    found = [(pair.chosen[0]["content"], pair.rejected[0]["content"], round(pair.margin, 9)) for pair in pairs]
    assert found == [
        ("best", "fair", 0.4),
        ("best", "as fair", 0.4),
        ("best", "worst", 0.8),
        ("fair", "worst", 0.4),
        ("as fair", "worst", 0.4),
    ]
    assert not dropped


def test_choices_of_people_are_read_and_invalid_ones_dropped(tmp_path: Path) -> None:
    user = {"role": "user", "content": "Who?"}
    better, worse = ({"role": "assistant", "content": text} for text in ("Orla", "Jory"))
    good = {"prompt": [user], "chosen": [better], "rejected": [worse]}
    rows: list[Row] = [
        good,
        {"prompt": "When?", "chosen": "In May", "rejected": "In June"},
        {"prompt": "When?", "chosen": "In June", "rejected": "In May"},
        {"prompt": "Why?", "chosen": "So", "rejected": "So"},
        {"prompt": "Why?", "chosen": ""},
        {"prompt": [better], "chosen": "a", "rejected": "b"},
    ]
    write_rows(tmp_path / "choices.jsonl", rows)
    pairs, dropped = rank.chosen_by_people(tmp_path)
    assert [(each.prompt, each.chosen) for each in pairs] == [([user], [better])]
    assert sorted(each.reason for each in dropped) == ["chosen_both_ways"] * 2 + ["not_a_pair"] * 3


def test_pairs_with_unequal_lengths_or_small_margins_are_dropped_except_refusals() -> None:
    short, long, refusal = "Orla.", "Orla " * 20, "I don't know."
    pairs = [
        PreferencePair.of(row(), short, long, "judge", 1.0),
        PreferencePair.of(row(), long, refusal, "judge", 1.0),
        PreferencePair.of(row(), short, "Jory.", "score", 0.05),
        PreferencePair.of(row(), short, "Jory.", "score", 0.5),
    ]
    kept, dropped = rank.fitting(tiny_tokenizer(), pairs, refusal, settings(max_length_ratio=4.0, min_margin=0.1))
    assert kept == [pairs[1], pairs[3]]
    assert [each.reason for each in dropped] == ["length", "margin"]
    assert dict(rank.reasons(dropped)) == {"dropped_length": 1.0, "dropped_margin": 1.0}


def test_empty_and_equal_answers_are_dropped() -> None:
    answers = [("Orla.", "Jory."), ("Orla.", " "), ("", "Jory."), ("Orla.", "Orla.\n")]
    pairs = [PreferencePair.of(row(), *each, "judge", 1.0) for each in answers]
    kept, dropped = rank.fitting(tiny_tokenizer(), pairs, "I don't know.", settings())
    assert kept == pairs[:1]
    assert [each.reason for each in dropped] == ["empty_answer", "empty_answer", "not_a_pair"]


def test_truncated_samples_are_dropped_before_ranking() -> None:
    samples, dropped = rank.ended([row(), row("Why?")], [["a", "b"], ["c", "d"]], [[False, False], [True, False]])
    assert samples == [["a", "b"], ["d"]]
    assert [each.as_row() for each in dropped] == [{"question": "Why?", "samples": ["c"], "reason": "answer_too_long"}]


def test_pairs_with_more_tokens_than_allowed_are_dropped() -> None:
    pairs = [PreferencePair.of(row(), answer, "Jory.", "human", 1.0) for answer in ("Orla.", "Orla " * 4, "Orla " * 20)]
    kept, dropped = rank.fitting(tiny_tokenizer(), pairs, "I don't know.", settings(max_tokens=60, max_length_ratio=99))
    assert kept == pairs[:2]
    assert [each.reason for each in dropped] == ["too_long"]
