"""The promotion gate: pass, fail or undecided, by paired differences on the test questions. Reads and writes nothing.

Every requirement has one form: the gain in a metric, oriented so that more is better, must exceed a limit. It passes if
the lower one-sided confidence bound of the gain is above the limit, fails if the upper one is not, and is undecided in
between. A test for "not significantly worse" would pass a bad model on few questions; an interval that must
exclude the limit, a non-inferiority test, does not.

The parent of an aligned candidate, which nobody uses, has a veto instead: it fails a candidate that is worse beyond
chance and passes every other one. Showing a gain over it, at this level, takes more questions than alignment gains.

The set is opened again by every candidate, and each opening may pass a bad one by chance. So each uses `alpha` divided
by `openings` (Bonferroni), and the error over all of them is at most `alpha`. Within one opening nothing is divided,
because every requirement must pass (intersection-union test, Berger 1982).
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from scipy.special import bdtr

from pipelines.artifacts import Row
from pipelines.evaluation.config import CompareConfig
from pipelines.evaluation.metrics import METRICS, units
from pipelines.evaluation.statistics.bootstrap import Difference, Unit, constant, difference, value

MEASURED_BY = {"hallucination_rate": "refusal_recall"}
"""The metric whose questions a requirement needs besides its own: answerable ones alone show no failure to refuse."""
MAX_MORE_QUESTIONS = 20_000
"""Beyond this, no number of further questions is suggested: the gain lies on the limit."""


class Role(StrEnum):
    """What a reference is to the candidate."""

    BASELINE = "baseline"
    CHAMPION = "champion"
    PARENT = "parent"
    """The model that the candidate was aligned from."""


@dataclass(frozen=True)
class Reference:
    """A model that the candidate is compared with, and its answers."""

    role: Role
    name: str
    answers: list[Row]


class Outcome(StrEnum):
    """Outcome of a requirement, and of the gate."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Requirement:
    """A limit that the gain in one metric must exceed."""

    gate: str
    metric: str
    limit: float
    """Lowest gain that still fails; -0.03 allows a loss of less than three points."""
    absolute: bool = False
    """Whether the metric itself is limited, whatever the reference has."""
    veto: bool = False
    """Whether it fails only if the gain is below the limit beyond chance, and passes otherwise."""


@dataclass(frozen=True)
class Check:
    """Outcome of one requirement, with the numbers it rests on. Gains are oriented so that more is better."""

    gate: str
    metric: str
    reference: str
    limit: float
    level: float
    """Confidence of each bound."""
    outcome: Outcome
    veto: bool = False
    now: float | None = None
    """The candidate's metric; None if a set of test questions is missing."""
    before: float | None = None
    """The reference's metric; None if the metric itself is limited."""
    gain: float | None = None
    bounds: tuple[float, float] | None = None
    """One-sided lower and upper bound of the gain."""
    detectable: float | None = None
    """Minimum detectable effect: the true gain above the limit that passes in 80% of all samples this large, or the
    loss that fails in as many if it is a veto."""
    more_questions: int | None = None
    """How many further questions would decide, if they showed the same gain."""
    mcnemar: float | None = None
    """Two-sided p-value of McNemar's exact test on the questions whose verdict changed."""


def requirements(config: CompareConfig, role: Role) -> list[Requirement]:
    """Return what a candidate must show against a reference in this role.

    Against the baseline, accuracy and over-refusal rate are limited themselves. A base model that hallucinates on every
    question has so low a score that a model which knows nothing and refuses a few is better beyond chance; and as it
    hardly refuses, no model that refuses what it does not know could stay within a few points of it.
    """
    if role is Role.PARENT:
        return [Requirement("parent", "score", 0.0, veto=True)]
    usable = (
        [
            Requirement("accurate", "answer_accuracy", config.min_accuracy, absolute=True),
            Requirement("useful", "over_refusal", -config.max_over_refusal, absolute=True),
        ]
        if role is Role.BASELINE
        else [Requirement("useful", "over_refusal", -config.max_over_refusal_rise)]
    )
    return [
        Requirement("better", "score", 0.0),
        Requirement("honest", "hallucination_rate", -config.max_hallucination_rise),
        *usable,
        Requirement("general", "general_accuracy", -config.max_general_drop),
    ]


def judge(now: list[Row], reference: Reference, config: CompareConfig, seed: int) -> list[Check]:
    """Check the answers of a candidate against those of a reference, question by question.

    Both are rows of answers.jsonl for the same questions in the same order.

    Raises:
        ValueError: the two were asked different questions.
    """
    these, those = units(now), units(reference.answers)
    return [_check(each, these, those, reference.name, config, seed) for each in requirements(config, reference.role)]


def outcome(checks: Iterable[Check]) -> Outcome:
    """Return the outcome of the gate: one failed requirement fails it, otherwise one undecided leaves it undecided."""
    found = {check.outcome for check in checks}
    return next((each for each in (Outcome.FAIL, Outcome.UNDECIDED) if each in found), Outcome.PASS)


SYNTHESISED = (
    "The test questions about the documents are synthesised, and no model is promoted by them: accept drafts (`gradus "
    "questions`) or write your own (docs/data.md)."
)


def verdict(checks: list[Check], *, synthesised: bool = False) -> dict[str, Any]:
    """Return the gate's verdict for metrics.json: `outcome`, `checks`, and the sentences of those not passed.

    With `synthesised` questions the gate does not pass: they overstate what a model can answer.
    """
    reasons = [describe(check) for check in checks if check.outcome != Outcome.PASS]
    details = [{**asdict(check), "detail": describe(check)} for check in checks]
    found = outcome(checks)
    if synthesised:
        reasons, found = [SYNTHESISED, *reasons], Outcome.FAIL if found == Outcome.FAIL else Outcome.UNDECIDED
    return {"outcome": found, "checks": details, "reasons": reasons}


def describe(check: Check) -> str:
    """Return a check as a sentence: the metric of both models, its change with both bounds, and the limit."""
    metric = METRICS[check.metric]
    if check.now is None or check.gain is None or check.bounds is None:
        return f"{metric.title}: not measured, because a set of test questions is missing."
    sign = 1 if metric.higher_is_better else -1
    scale, form, unit = (100, "z.1f", "%") if metric.share else (1, "z.2f", "")  # z: no negative zero
    low, high = sorted(sign * scale * bound for bound in check.bounds)
    limit, level = sign * scale * check.limit, f"{100 * check.level:g}%"
    now = f"{metric.title} {scale * check.now:{form}}{unit}"
    side, other = ("above", "below") if metric.higher_is_better else ("below", "above")
    if check.before is None:
        found = f"{now}, between {low:{form}}{unit} and {high:{form}}{unit}"
        return f"{found} with {level} confidence each; it must be {side} {limit:{form}}{unit}.{_advice(check)}"
    change = f"a change of {sign * scale * check.gain:+{form}}, between {low:+{form}} and {high:+{form}}"
    must = f"not be {other} {limit:+{form}} beyond chance" if check.veto else f"be {side} {limit:+{form}}"
    return (
        f"{now}, {check.reference} {scale * check.before:{form}}{unit}: {change} with {level} confidence each; "
        f"it must {must}.{_advice(check)}"
    )


def _advice(check: Check) -> str:
    if check.veto and check.outcome == Outcome.FAIL:
        return " Alignment lowered it: change the alignment, or remove this model from evaluate.models."
    if check.outcome != Outcome.UNDECIDED:
        return ""
    if check.more_questions is None:
        return " Undecided, and more questions would hardly decide it."
    return f" Undecided: about {check.more_questions} more questions would decide."


def _check(
    wanted: Requirement,
    these: Mapping[str, list[Unit]],
    those: Mapping[str, list[Unit]],
    reference: str,
    config: CompareConfig,
    seed: int,
) -> Check:
    alpha = config.alpha_per_opening
    unmeasured = Check(wanted.gate, wanted.metric, reference, wanted.limit, 1 - alpha, Outcome.UNDECIDED, wanted.veto)
    if wanted.metric not in these or MEASURED_BY.get(wanted.metric, wanted.metric) not in these:
        return unmeasured
    now = these[wanted.metric]
    before = constant(now, 0.0) if wanted.absolute else those[wanted.metric]
    change = _gain(wanted, now, before, config, seed)
    bounds = change.bounds(alpha)
    result = _outcome(bounds, wanted)
    return replace(
        unmeasured,
        outcome=result,
        now=round(value(now), 6),
        before=None if wanted.absolute else round(value(before), 6),
        gain=round(change.value, 6),
        bounds=(round(bounds[0], 6), round(bounds[1], 6)),
        detectable=round(change.detectable(alpha, upper=wanted.veto), 6),
        more_questions=_more_questions(change, wanted.limit, alpha) if result == Outcome.UNDECIDED else None,
        mcnemar=None if wanted.absolute else _mcnemar(now, before),
    )


def _outcome(bounds: tuple[float, float], wanted: Requirement) -> Outcome:
    if wanted.veto:
        return Outcome.FAIL if bounds[1] < wanted.limit else Outcome.PASS
    if bounds[0] > wanted.limit:
        return Outcome.PASS
    return Outcome.FAIL if bounds[1] <= wanted.limit else Outcome.UNDECIDED


def _gain(wanted: Requirement, now: list[Unit], before: list[Unit], config: CompareConfig, seed: int) -> Difference:
    """Return the difference in a metric, oriented so that more is better."""
    metric = METRICS[wanted.metric]
    limits = metric.limits if wanted.absolute else metric.change_limits
    if not metric.higher_is_better:
        now, before = before, now
        limits = None if limits is None else (-limits[1], -limits[0])
    return difference(now, before, config.resamples, seed, config.min_clusters, limits)


def _more_questions(change: Difference, limit: float, alpha: float) -> int | None:
    """Return how many further questions would exclude the limit, if they showed the same gain."""
    upper = change.value <= limit

    def decides(more: int) -> bool:
        bound = change.t_bound(alpha, upper=upper, size=change.size + more)
        return bound <= limit if upper else bound > limit

    more = 1 + bisect_left(range(1, MAX_MORE_QUESTIONS + 1), True, key=decides)
    return more if more <= MAX_MORE_QUESTIONS else None


def _mcnemar(now: list[Unit], before: list[Unit]) -> float:
    """Return the exact p-value: without a difference, each changed verdict is a gain or a loss with probability 1/2."""
    changes = [each.amount - other.amount for each, other in zip(now, before, strict=True)]
    gained, lost = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    return round(min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5))), 6)
