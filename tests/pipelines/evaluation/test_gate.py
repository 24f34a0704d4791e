"""The gate: its three outcomes, its error rates in a simulation, and the sentences it gives."""

from typing import Any

import numpy as np
import pytest

from pipelines.artifacts import Row
from pipelines.config import load
from pipelines.evaluation.config import CompareConfig
from pipelines.evaluation.gate import Outcome, Reference, Role, describe, judge, outcome, verdict
from pipelines.evaluation.statistics.bootstrap import Difference, Unit, difference
from pipelines.evaluation.statistics.sample_size import needed, too_small
from tests.conftest import ROOT

SEED = 1
SETS = ("answerable", "unanswerable", "general")


def config(**changes: Any) -> CompareConfig:
    """Return the product's settings with fewer resamples and one opening."""
    settings = load(ROOT / "params.yaml").compare
    return settings.model_copy(update={"resamples": 1000, "openings": 1, **changes})


def rows(count: int = 400, **correct: float) -> list[Row]:
    """Return `count` answers per set, of which the given share is as desired, by set; the others are wrong.

    `refused` is the share of answerable questions refused, among those not correct.
    """
    found = []
    for kind in SETS:
        desired = round(count * correct.get(kind, 0.5))
        refused = round(count * correct.get("refused", 0.0)) if kind == "answerable" else 0
        for number in range(count):
            good = "refused" if kind == "unanswerable" else "correct"
            word = good if number < desired else "refused" if number < desired + refused else "wrong"
            found.append({"set": kind, "verdict": word, "cluster": f"{kind}-{number // 2}", "f1": 0.0})
    return found


def checks(now: list[Row], before: list[Row], role: Role = Role.BASELINE, **changes: Any) -> dict[str, Any]:
    names = {Role.BASELINE: "base", Role.CHAMPION: "the champion, version 3", Role.PARENT: "sft"}
    reference = Reference(role, names[role], before)
    return {check.gate: check for check in judge(now, reference, config(**changes), SEED)}


def test_better_model_passes_every_gate() -> None:
    found = checks(rows(answerable=0.7, refused=0.05, unanswerable=0.6), rows(answerable=0.1, unanswerable=0.1))
    assert {name: check.outcome for name, check in found.items()} == dict.fromkeys(
        ("better", "honest", "accurate", "useful", "general"), Outcome.PASS
    )
    assert verdict(list(found.values()))["reasons"] == []
    synthesised = verdict(list(found.values()), synthesised=True)
    assert synthesised["outcome"] == Outcome.UNDECIDED and "no model is promoted" in synthesised["reasons"][0]
    assert found["better"].gain == pytest.approx(0.7 - 3 * 0.25 - (0.1 - 3 * 0.9))


@pytest.mark.parametrize(
    ("gate", "now", "before"),
    [
        ("better", rows(answerable=0.2), rows(answerable=0.4)),
        ("honest", rows(unanswerable=0.2), rows(unanswerable=0.9)),
        ("accurate", rows(answerable=0.02, refused=0.1), rows(answerable=0.0)),
        ("useful", rows(answerable=0.6, refused=0.4), rows(answerable=0.5)),
        ("general", rows(general=0.4), rows(general=0.6)),
    ],
)
def test_loss_beyond_the_limit_fails_its_gate(gate: str, now: list[Row], before: list[Row]) -> None:
    found = checks(now, before)
    assert found[gate].outcome == Outcome.FAIL
    assert outcome(found.values()) == Outcome.FAIL


def test_few_questions_leave_the_gate_undecided_and_it_says_how_many_would_decide() -> None:
    found = checks(rows(40, answerable=0.55, general=0.5), rows(40, answerable=0.5, general=0.5))
    general = found["general"]
    assert general.outcome == Outcome.UNDECIDED and general.gain == 0
    assert "Undecided: about" in describe(general) and "more questions would decide" in describe(general)
    assert outcome(found.values()) == Outcome.UNDECIDED
    enough = 40 + (general.more_questions or 0)
    assert checks(rows(enough, general=0.5), rows(enough, general=0.5))["general"].outcome == Outcome.PASS


def test_more_openings_need_more_evidence() -> None:
    now, before = rows(100, answerable=0.6), rows(100, answerable=0.5)
    once, often = checks(now, before)["better"], checks(now, before, openings=20)["better"]
    assert (once.outcome, often.outcome) == (Outcome.PASS, Outcome.UNDECIDED)
    assert often.bounds[0] < once.bounds[0] and often.level == pytest.approx(0.9975)


def test_refusals_are_limited_by_themselves_against_the_baseline_and_relatively_against_the_champion() -> None:
    now, before = rows(answerable=0.6, refused=0.1), rows(answerable=0.6)
    assert checks(now, before)["useful"].outcome == Outcome.PASS
    against_champion = checks(now, before, Role.CHAMPION)["useful"]
    assert against_champion.outcome == Outcome.FAIL
    assert describe(against_champion).startswith(
        "Over-refusal rate 10.0%, the champion, version 3 0.0%: a change of +10.0, between +"
    )


@pytest.mark.parametrize(("missing", "gate"), [("general", "general"), ("unanswerable", "honest")])
def test_requirement_without_its_questions_is_undecided(missing: str, gate: str) -> None:
    """The hallucination rate of answerable questions alone says nothing of a model that never refuses."""
    now, before = ([row for row in rows() if row["set"] != missing] for _ in range(2))
    check = checks(now, before)[gate]
    assert check.outcome == Outcome.UNDECIDED
    assert describe(check).endswith("not measured, because a set of test questions is missing.")


def test_gate_of_answers_to_different_questions_raises() -> None:
    with pytest.raises(ValueError, match="same questions"):
        judge(rows(10), Reference(Role.BASELINE, "base", rows(12)), config(), SEED)


def test_parent_fails_a_model_that_is_worse_beyond_chance_and_passes_every_other() -> None:
    worse = checks(rows(answerable=0.4), rows(answerable=0.6), Role.PARENT)
    assert [(name, check.outcome) for name, check in worse.items()] == [("parent", Outcome.FAIL)]
    sentence = describe(worse["parent"])
    assert sentence.startswith("Score -1.40, sft -0.60: a change of -0.80, between -")
    assert "it must not be below +0.00 beyond chance. Alignment lowered it" in sentence
    for now, before in (
        (rows(20, answerable=0.55), rows(20, answerable=0.6)),  # a loss within chance
        (rows(answerable=0.6), rows(answerable=0.6)),
        (rows(answerable=0.8), rows(answerable=0.6)),
    ):
        check = checks(now, before, Role.PARENT)["parent"]
        assert check.outcome == Outcome.PASS and describe(check).endswith("beyond chance.")


def test_loss_that_vetoes_needs_more_evidence_the_more_openings_there_are() -> None:
    now, before = rows(100, answerable=0.5), rows(100, answerable=0.6)
    assert checks(now, before, Role.PARENT)["parent"].outcome == Outcome.FAIL
    assert checks(now, before, Role.PARENT, openings=20)["parent"].outcome == Outcome.PASS


def test_sets_that_cannot_pass_are_named_beforehand() -> None:
    assert too_small({"general": 40, "answerable": 500}, config()) == [
        "40 general test questions cannot pass the gate if no verdict changes; 143 or more can (docs/evaluation.md)."
    ]
    assert too_small({"general": 143, "answerable": 500}, config()) == []
    few = "domain test questions cannot pass the gate if no verdict changes; 86 or more can (docs/evaluation.md)."
    assert too_small({"unanswerable": 40, "answerable": 45}, config(max_over_refusal_rise=0.5))[-1] == f"85 {few}"
    assert too_small({"unanswerable": 41, "answerable": 45}, config(max_over_refusal_rise=0.5)) == []
    assert needed(config()) == {"general": 143, "answerable": 86, "domain": 86}
    loose = config(max_over_refusal=0.001, max_over_refusal_rise=1.0, max_general_drop=1e-5, max_hallucination_rise=0.0)
    assert needed(loose) == {"answerable": 4325}  # no number, or more than `MOST`, shows the other limits
    outcomes = [checks(rows(count), rows(count))["general"].outcome for count in (99, 150)]
    assert outcomes == [Outcome.UNDECIDED, Outcome.PASS]


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_error_rates_in_a_simulation(alpha: float) -> None:
    """Of models alike at most alpha pass, and of those better by the detectable effect about 80%."""
    draws, questions, documents = 2000, 300, 40
    generator = np.random.default_rng(0)
    clusters = np.sort(generator.integers(documents, size=questions))
    base = [Unit(str(cluster), 0.0) for cluster in clusters]

    def sample(gain: float) -> Difference:
        shift = generator.normal(0, 0.05, documents)[clusters]  # documents differ in how much they gain
        up, down = 0.1 + (gain + shift) / 2, np.maximum(0.1 - (gain + shift) / 2, 0)
        chance = generator.random(questions)
        change = np.where(chance < up, 1.0, np.where(chance < up + down, -1.0, 0.0))
        units = [Unit(each.cluster, float(amount)) for each, amount in zip(base, change, strict=True)]
        return difference(units, base, 2000, SEED, 10)

    alike = [sample(0.0) for _ in range(draws)]
    noise = 2 * (alpha * (1 - alpha) / draws) ** 0.5
    assert np.mean([each.bounds(alpha)[0] > 0 for each in alike]) <= alpha + noise
    detectable = float(np.mean([each.detectable(alpha, upper=False) for each in alike]))
    better = [sample(detectable) for _ in range(draws // 5)]
    assert 0.75 < np.mean([each.bounds(alpha)[0] > 0 for each in better]) < 0.85
