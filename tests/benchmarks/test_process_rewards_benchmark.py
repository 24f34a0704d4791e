"""The benchmark of process and outcome rewards with a tiny policy, and its summary of planted scores."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.process_policies import SETTINGS, tokenizer
from benchmarks.process_report import Measured, label_facts, summary, table
from benchmarks.process_rewards import main
from pipelines import artifacts
from pipelines.alignment.process.problems import splits
from pipelines.alignment.process.rollouts import Labelled
from pipelines.alignment.process.steps import Solution
from pipelines.models.chat import encode_text
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow


def test_all_picks_are_measured_and_finished_seeds_are_kept(tmp_path: Path) -> None:
    setting = SETTINGS["tiny"]
    figures = main(setting, tmp_path, seeds=1)
    assert set(figures) == {"process_minus_outcome", "interval", "majority", "any_correct", "one_sample"}
    low, high = figures["interval"]
    assert low <= figures["process_minus_outcome"] <= high
    assert 0 <= figures["one_sample"] <= figures["any_correct"] <= 1
    result = artifacts.read_json(tmp_path / "seed1/result.json")
    assert [len(samples) for samples in result["problems"]] == [setting.n] * setting.tested
    assert result["facts"]["labelled_solutions"] > 0
    assert "| samples | any_correct |" in (tmp_path / "table.md").read_text()
    assert "<svg" in (tmp_path / "best_of_n.svg").read_text()
    before = (tmp_path / "seed1/result.json").stat().st_mtime_ns
    assert main(setting, tmp_path, seeds=1) == figures
    assert (tmp_path / "seed1/result.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="name another --out"):
        main(replace(setting, n=5), tmp_path, seeds=1)


def test_tokenizer_keeps_the_text_of_problems_and_splits_digits() -> None:
    tok = tokenizer()
    for problem in splits({"": 50}, 3, (3, 5), 99)[""]:
        for text in (problem.question, "\n".join(problem.steps)):
            ids = encode_text(tok, text)
            assert tok.decode(ids) == text and tok.unk_token_id not in ids and tok.pad_token_id not in ids
    assert len(encode_text(tok, "27+8=35")) == 7


def test_summary_pairs_the_picks_over_the_problems_of_all_seeds() -> None:
    """The worst step finds the right sample in every problem, the outcome in none, and the majority is wrong."""
    right = {"answer": "4", "correct": True, "outcome": 0.1, "min": -0.1, "product": -0.2, "last": -3.0}
    wrong = {"answer": "5", "correct": False, "outcome": 0.9, "min": -2.0, "product": -2.1, "last": -0.1}
    found = [Measured(seed, [[right, wrong, wrong]] * 8, {"decoded": 0.25}) for seed in (1, 2)]
    result = summary(found)
    assert result["figures"]["process_minus_outcome"] == 1.0 and result["figures"]["interval"][0] > 0
    last = result["curve"][-1]
    assert (last["process_pick"], last["process_product"], last["process_last"]) == (1, 1, 0)
    assert (last["outcome_pick"], last["majority"], last["any_correct"]) == (0, 0, 1)
    assert result["curve"][0]["process_pick"] == result["curve"][0]["any_correct"] == pytest.approx(1 / 3, abs=1e-6)
    assert "| 1 | 100.0% | 0.0% | 0.0% | 100.0% | 100.0% | 0.0% |" in table(found)


def test_label_errors_are_counted_against_the_truth() -> None:
    solution = Solution([1], [2, 3], [0, 1])
    labelled = [
        Labelled(solution, [2, 0], 4, False, "", None),
        Labelled(solution, [0, 4], 4, True, "", None),
        Labelled(solution, [], 4, False, "", "no_answer"),
    ]
    facts = label_facts(labelled, [[True, False], [True, True], [False, False]])
    assert facts["labelled_solutions"] == 2 and facts["labelled_steps"] == 4 and facts["rejected_no_answer"] == 1
    assert facts["missed_right"] == pytest.approx(1 / 3) and facts["missed_wrong"] == 0
