"""Conditions under which a run of online training stops, and the best round before.

Every round is measured on the answers to the same held-out prompts, sampled with the same seed. Round 0 is the start,
round k the policy after k updates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from pipelines.alignment.rewards.functions import Verdict
from pipelines.alignment.rl.config import HealthBlock
from pipelines.alignment.rl.experience import Experience, describe, entropy
from pipelines.alignment.rl.samples import Sample

Round = Mapping[str, float]
"""The metrics of a round."""
MEASUREMENTS = REWARD, VERDICT, KL, ENTROPY, LENGTH, REFUSALS, ENDED = tuple(
    f"held_out_{name}" for name in ("reward", "verdict", "kl", "entropy", "length", "refusals", "ended")
)
SCORE = "score"
"""The mean reward of the round's rollouts."""


def measurements(
    rollouts: Sequence[Experience], samples: Sequence[Sample], verdict: Verdict, penalty: float
) -> dict[str, float]:
    """Return the held-out metrics of a round; `rollouts` are the measurements of the answers `samples`.

    The reward of an answer that did not end is its score minus `penalty`, as in training.
    The entropy is that of answers which are no refusals, if there are any: the text of a refusal is fixed, so that a
    policy which rightly refuses more would seem to collapse.
    """
    means, refused = describe(rollouts), [verdict.of(sample) == "refused" for sample in samples]
    answered = [row for row, silent in enumerate(refused) if not silent]
    answerable = [silent for sample, silent in zip(samples, refused, strict=True) if sample.prompt.answerable]
    return {
        REWARD: means["score"] - penalty * (1 - means["ended"]),
        VERDICT: float(verdict(samples).mean()),
        KL: means["kl"],
        ENTROPY: entropy(rollouts, answered) if answered else means["entropy"],
        LENGTH: means["length"],
        REFUSALS: sum(answerable) / max(1, len(answerable)),
        ENDED: means["ended"],
    }


class Stop(NamedTuple):
    """Why a run stops."""

    condition: str
    sentence: str


def diagnose(rounds: Sequence[Round], limits: HealthBlock, kl_target: float) -> Stop | None:
    """Return the first condition that the last of `rounds` meets, if any; the rounds before it are healthy."""
    checks: dict[str, Callable[[], str | None]] = {
        "kl": lambda: _kl(rounds, limits.max_kl, kl_target),
        "entropy": lambda: _entropy(rounds, limits.min_entropy),
        "refusals": lambda: _refusals(rounds, limits.max_refusal_rise),
        "length": lambda: _length(rounds, limits.max_length_ratio),
        "truncation": lambda: _truncation(rounds, limits.max_truncation_rise),
        "overoptimisation": lambda: _overoptimisation(rounds, limits.falling_rounds),
    }
    found = ((name, check()) for name, check in checks.items())
    return next((Stop(name, sentence) for name, sentence in found if sentence), None)


def _kl(rounds: Sequence[Round], ratio: float, target: float) -> str | None:
    now = rounds[-1][KL]
    if now <= ratio * target:
        return None
    return f"the KL to the start is {now:.1f} nats per answer, above {ratio:g} times the target of {target:g}"


def _entropy(rounds: Sequence[Round], share: float) -> str | None:
    first, now = rounds[0][ENTROPY], rounds[-1][ENTROPY]
    if now >= share * first:
        return None
    return f"the entropy is {now:.3f} nats per token, below {share:g} times the {first:.3f} of the start"


def _refusals(rounds: Sequence[Round], rise: float) -> str | None:
    first, now = rounds[0][REFUSALS], rounds[-1][REFUSALS]
    if now <= first + rise:
        return None
    return f"{now:.0%} of the answerable held-out prompts are refused, {first:.0%} at the start"


def _length(rounds: Sequence[Round], ratio: float) -> str | None:
    first, now = rounds[0][LENGTH], rounds[-1][LENGTH]
    if now <= ratio * first:
        return None
    return f"an answer has {now:.1f} tokens on average, more than {ratio:g} times the {first:.1f} of the start"


def _truncation(rounds: Sequence[Round], rise: float) -> str | None:
    """Answers run into `max_new_tokens`, where their length cannot grow any more."""
    first, now = (1 - each[ENDED] for each in (rounds[0], rounds[-1]))
    if now <= first + rise:
        return None
    return f"{now:.0%} of the answers are cut at the maximum length, {first:.0%} at the start"


def _overoptimisation(rounds: Sequence[Round], count: int) -> str | None:
    """The policy exploits the reward (Gao et al. 2023, arXiv:2210.10760): it rises while the verdict falls."""
    verdicts = [each[VERDICT] for each in rounds[-count - 1 :]]
    scores = [each[SCORE] for each in rounds[-count - 1 : -1]]  # the last round is measured before its rollouts
    falls = all(after < before for before, after in pairwise(verdicts))
    if len(verdicts) <= count or not falls or scores[-1] <= scores[0]:
        return None
    return (
        f"the held-out verdict fell in {count} successive rounds, from {verdicts[0]:.2f} to {verdicts[-1]:.2f}, while "
        f"the training reward rose from {scores[0]:.2f} to {scores[-1]:.2f}"
    )


@dataclass
class BestRound:
    """The healthy round with the highest held-out reward so far, the earliest of equals, and its weights."""

    number: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, rounds: Sequence[Round], weights: Mapping[str, Tensor]) -> None:
        """Take the last of `rounds`, with its `weights`, if it is better."""
        if self.number < 0 or rounds[-1][REWARD] > rounds[self.number][REWARD]:
            self.number = len(rounds) - 1
            self.weights = {name: weight.detach().clone() for name, weight in weights.items()}


def summary(rounds: Sequence[Round], best: int, stop: Stop | None) -> dict[str, float]:
    """Return the metrics of the first, the `best` and the last round, and what stopped the run, if anything."""
    trained = [each for each in rounds if SCORE in each]
    ends = {"first": trained[0], "last": trained[-1]}
    held_out = {"first": rounds[0], "best": rounds[best], "last": rounds[-1]}
    metrics = {f"{name}_{when}": each[name] for name in (SCORE, "kl", "length") for when, each in ends.items()}
    metrics |= {f"{name}_{when}": each[name] for name in (REWARD, VERDICT) for when, each in held_out.items()}
    stopped = {f"stopped_by_{stop.condition}": 1.0} if stop else {}
    return metrics | {"rounds": float(len(rounds) - 1), "best_round": float(best)} | stopped
