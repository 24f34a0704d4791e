"""Metrics of judged answers and scored text. Reads and writes nothing.

Every metric is a ratio of two sums over questions (or held-out documents), so that one bootstrap serves all.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipelines.evaluation.statistics.bootstrap import Interval, Unit


@dataclass(frozen=True)
class Metric:
    """Title, meaning and direction of a metric."""

    title: str
    meaning: str
    higher_is_better: bool
    limits: Interval | None = (0.0, 1.0)
    """Lowest and highest value of one question; None if there is none."""
    digits: int = 3
    """Decimals shown of a value that is not a share."""

    @property
    def share(self) -> bool:
        """Whether the value is between 0 and 1."""
        return self.limits == (0.0, 1.0)

    @property
    def change_limits(self) -> Interval | None:
        """Lowest and highest difference between two models on one question."""
        if self.limits is None:
            return None
        reach = self.limits[1] - self.limits[0]
        return -reach, reach


WRONG_COST = 3.0
"""Cost of a wrong answer when a correct one earns 1: answering pays from a probability of 3/4 of being correct (Kalai
et al. 2025, arXiv:2509.04664). Without a cost, a model that always guesses scores best."""

METRICS = {
    "score": Metric(
        "Score", f"correct minus {WRONG_COST:g} × wrong, over answerable questions", True, (-WRONG_COST, 1.0), digits=2
    ),
    "answer_accuracy": Metric("Accuracy", "share of answerable questions answered correctly", True),
    "answer_f1": Metric("Token F1", "token overlap with the accepted answer, over answerable questions", True),
    "over_refusal": Metric("Over-refusal rate", "share of answerable questions refused", False),
    "refusal_recall": Metric("Refusal recall", "share of unanswerable questions refused", True),
    "hallucination_rate": Metric("Hallucination rate", "share of all these questions answered wrongly", False),
    "invented_entities": Metric(
        "Invented-entity rate",
        "share of all these questions answered with a name, number or date that neither question nor corpus has",
        False,
    ),
    "general_accuracy": Metric("General accuracy", "share of general questions answered correctly", True),
    "domain_bits_per_byte": Metric("Bits per byte", "on held-out documents", False, limits=None),
}


def units(answers: Iterable[dict[str, Any]], text: Iterable[dict[str, Any]] = ()) -> dict[str, list[Unit]]:
    """Return by metric the contribution of each judged answer (a row of answers.jsonl) and scored document.

    The invented-entity rate is left out unless all answers have the column: those of a registered version and open-book
    ones are scored without the corpus.
    """
    contributions: dict[str, list[Unit]] = {name: [] for name in METRICS}
    for row in answers:
        for name, amount in _counts(row).items():
            contributions[name].append(Unit(row["cluster"], amount))
    contributions["domain_bits_per_byte"] = [Unit(row["source"], row["bits"], row["bytes"]) for row in text]
    if len(contributions["invented_entities"]) < len(contributions["hallucination_rate"]):
        del contributions["invented_entities"]
    return {name: rows for name, rows in contributions.items() if rows}


def _counts(row: dict[str, Any]) -> dict[str, float]:
    correct, refused, wrong = (float(row["verdict"] == name) for name in ("correct", "refused", "wrong"))
    if row["set"] == "general":
        return {"general_accuracy": correct}
    shared = {"hallucination_rate": wrong}
    if "invented" in row:
        shared["invented_entities"] = float(bool(row["invented"]))
    if row["set"] == "unanswerable":
        return {**shared, "refusal_recall": refused}
    rates = {"answer_accuracy": correct, "over_refusal": refused, **shared}
    return {**rates, "score": correct - WRONG_COST * wrong, "answer_f1": row["f1"]}
