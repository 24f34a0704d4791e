"""Conditions that stop a run, each by a synthetic history, and the choice of the best round."""

import pytest
import torch

from pipelines.alignment.rewards.functions import Verdict
from pipelines.alignment.rl.config import HealthBlock
from pipelines.alignment.rl.experience import Experience
from pipelines.alignment.rl.health import BestRound, Round, Stop, diagnose, measurements, summary
from pipelines.alignment.rl.samples import Sample
from pipelines.alignment.sequences import collate
from tests.support.reinforcement import prompt

pytestmark = pytest.mark.slow

LIMITS = HealthBlock(
    prompts=32,
    max_kl=2.0,
    min_entropy=0.5,
    max_refusal_rise=0.2,
    max_length_ratio=2.0,
    max_truncation_rise=0.2,
    falling_rounds=3,
)
START = {"reward": 0.1, "verdict": 0.5, "kl": 0.0, "entropy": 0.4, "length": 20.0, "refusals": 0.1, "ended": 1.0}


def history(*changes: dict[str, float]) -> list[Round]:
    """Return the start and a round for each of `changes`; a key `score` is the training reward."""
    rounds = [START | {"score": 0.0}, *(START | change for change in changes)]
    return [{key if key == "score" else f"held_out_{key}": value for key, value in each.items()} for each in rounds]


def found(*changes: dict[str, float]) -> Stop | None:
    return diagnose(history(*changes), LIMITS, kl_target=6.0)


@pytest.mark.parametrize(
    ("healthy", "unhealthy", "condition", "sentence"),
    [
        (
            {"kl": 12.0},
            {"kl": 12.1},
            "kl",
            "the KL to the start is 12.1 nats per answer, above 2 times the target of 6",
        ),
        (
            {"entropy": 0.2},
            {"entropy": 0.19},
            "entropy",
            "the entropy is 0.190 nats per token, below 0.5 times the 0.400 of the start",
        ),
        (
            {"refusals": 0.3},
            {"refusals": 0.35},
            "refusals",
            "35% of the answerable held-out prompts are refused, 10% at the start",
        ),
        (
            {"length": 40.0},
            {"length": 40.5},
            "length",
            "an answer has 40.5 tokens on average, more than 2 times the 20.0 of the start",
        ),
        (
            {"ended": 0.85},
            {"ended": 0.75},
            "truncation",
            "25% of the answers are cut at the maximum length, 0% at the start",
        ),
    ],
)
def test_limit_stops_the_run(
    healthy: dict[str, float], unhealthy: dict[str, float], condition: str, sentence: str
) -> None:
    assert found(healthy) is None
    assert found(healthy, unhealthy) == Stop(condition, sentence)


def test_falling_verdict_with_a_rising_reward_stops_the_run() -> None:
    falling = [{"verdict": 0.4, "score": 0.2}, {"verdict": 0.3, "score": 0.6}, {"verdict": 0.2}]
    stop = found(*falling)
    assert stop is not None and stop.condition == "overoptimisation"
    assert "fell in 3 successive rounds, from 0.50 to 0.20, while the training reward rose from 0.00 to 0.60" in stop[1]
    assert found(*falling[:2]) is None  # not yet long enough
    assert found({"verdict": 0.4, "score": 0.2}, {"verdict": 0.4, "score": 0.6}, {"verdict": 0.2}) is None
    assert found({"verdict": 0.4, "score": 0.2}, {"verdict": 0.3, "score": -0.1}, {"verdict": 0.2}) is None
    assert found({"score": 0.1}, *falling) is not None  # only the last rounds count


def test_the_outcome_of_a_round_does_not_change_with_its_rollouts() -> None:
    """A round is diagnosed before its rollouts, and again after them when the run goes on or resumes."""
    falling = [{"verdict": 0.4, "score": 0.0}, {"verdict": 0.3, "score": -0.1}]
    assert found(*falling, {"verdict": 0.2}) is found(*falling, {"verdict": 0.2, "score": 9.0}) is None


def test_best_round_has_the_highest_held_out_reward_and_is_the_earliest_of_equals() -> None:
    best, rounds = BestRound(), history({"reward": 0.3}, {"reward": 0.3}, {"reward": 0.2})
    weight = torch.zeros(1)
    for number in range(len(rounds)):
        weight.fill_(number)
        best.offer(rounds[: number + 1], {"weight": weight})
    assert best.number == 1 and best.weights["weight"].item() == 1.0


def rollouts(entropies: list[float], lengths: list[int], whole: int = 4) -> list[Experience]:
    """Return answers of constant entropy per token, in reverse order and in micro-batches of two; the first ended."""
    rows, found = list(range(len(lengths)))[::-1], []
    for group in (rows[start : start + 2] for start in range(0, len(rows), 2)):
        batch = collate([([1], [2] * lengths[row]) for row in group], 0, torch.device("cpu"))
        entropy = batch.mask * torch.tensor([[entropies[row]] for row in group])
        logprobs, ended = torch.zeros_like(entropy), torch.tensor([row < whole for row in group])
        found.append(Experience(batch, group, ended, logprobs, entropy, logprobs, torch.full((len(group),), 0.7)))
    return found


def test_measurements_count_refusals_of_answerable_prompts_and_the_entropy_of_the_other_answers() -> None:
    verdict = Verdict("I don't know.", 25, 0.75)
    answers = [("Drace", "Drace."), ("Drace", "I don't know."), ("", "I don't know."), ("Drace", "Tule.")]
    samples = [Sample(prompt([1], accepted), [2], text) for accepted, text in answers]
    measured = measurements(rollouts([0.3, 0.01, 0.01, 0.9], [1, 4, 4, 3]), samples, verdict, penalty=2.0)
    assert measured["held_out_refusals"] == pytest.approx(1 / 3)
    assert measured["held_out_verdict"] == pytest.approx((1 + 0 + 0 - 3) / 4)
    assert measured["held_out_reward"] == pytest.approx(0.7)
    assert measured["held_out_entropy"] == pytest.approx((1 * 0.3 + 3 * 0.9) / 4)


def test_entropy_is_that_of_refusals_when_nothing_else_is_answered() -> None:
    samples = [Sample(prompt([1], "Drace"), [2], "I don't know.")] * 2
    measured = measurements(rollouts([0.1, 0.3], [4, 4]), samples, Verdict("I don't know.", 25, 0.75), penalty=2.0)
    assert measured["held_out_entropy"] == pytest.approx(0.2)


def test_answers_that_do_not_end_are_penalised() -> None:
    samples = [Sample(prompt([1], "Drace"), [2], "Drace.")] * 4
    cut = rollouts([0.1] * 4, [4] * 4, whole=3)
    measured = measurements(cut, samples, Verdict("I don't know.", 25, 0.75), penalty=2.0)
    assert measured["held_out_ended"] == pytest.approx(0.75)
    assert measured["held_out_reward"] == pytest.approx(0.7 - 2.0 / 4)


def test_summary_names_the_condition() -> None:
    rounds = [{**each, "kl": 0.0, "length": 3.0} for each in history({"reward": 0.4, "score": 0.5}, {"kl": 99.0})]
    metrics = summary(rounds, 1, diagnose(rounds, LIMITS, 6.0))
    assert (metrics["rounds"], metrics["best_round"], metrics["stopped_by_kl"]) == (2.0, 1.0, 1.0)
    assert (metrics["held_out_reward_first"], metrics["held_out_reward_best"]) == (0.1, 0.4)
    assert not any(name.startswith("stopped_by") for name in summary(rounds[:2], 1, None))
