"""Calibrate the confidence of a model on questions it was not trained on. Reads and writes nothing."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from pipelines.artifacts import Row
from pipelines.evaluation.confidence.certificate import Certificate, Floats, Scored, certify, describe
from pipelines.evaluation.confidence.config import CalibrateConfig
from pipelines.evaluation.confidence.estimator import Estimator, fit
from pipelines.evaluation.confidence.signal_names import SIGNALS
from pipelines.evaluation.metrics import WRONG_COST
from pipelines.evaluation.questions import GENERAL
from pipelines.evaluation.statistics.bootstrap import effective_clusters
from pipelines.evaluation.verdicts.invented import is_attempt

CONFIDENCE, CONFIDENCES, RISK_COVERAGE = "confidence.json", "confidences.jsonl", "risk_coverage.jsonl"
MIN_OF_EACH = 10
"""Least correct and wrong answers to fit an estimator on."""
UNCERTIFIED = 1.0
"""Penalty of the estimator without a certificate. A larger one shrinks all estimates to the share of correct answers,
which leaves their order but hardly one above `BREAK_EVEN`: of 142 answers (60 splits by document), 5% with 10, 16% with
1, of which 77% are correct."""
BREAK_EVEN = WRONG_COST / (1 + WRONG_COST)
"""The confidence p from which an answer raises the score, p - WRONG_COST (1 - p) > 0 (Chow 1970)."""


@dataclass(frozen=True)
class Confidence:
    """The estimator of a model and its threshold, as registered with it."""

    estimator: Estimator | None
    """None if there were too few answers to fit one."""
    certificate: Certificate

    def estimates(self, values: Floats) -> Floats:
        """Return the confidence [n] in answers with the signals `values` [n, SIGNALS].

        Without an estimator it is the geometric mean of the token probabilities, which is not calibrated.
        """
        if self.estimator is not None:
            names = list(SIGNALS)
            return self.estimator.confidence(values[:, [names.index(each) for each in self.estimator.signals]])
        likely: Floats = np.exp(values[:, list(SIGNALS).index("log_likelihood")])
        return likely

    @property
    def is_known(self) -> bool:
        """Whether all signals of the estimator are still computed."""
        return self.estimator is None or set(self.estimator.signals) <= SIGNALS.keys()

    @property
    def reads(self) -> bool:
        """Whether the estimate depends on a reader."""
        if self.estimator is None:
            return False
        weights = dict(zip(self.estimator.signals, self.estimator.weights, strict=True))
        return weights.get("reading", 0.0) != 0

    @property
    def threshold(self) -> float | None:
        """The confidence below which the model abstains; None if it is not calibrated.

        It is the certified one, or without a certificate that at which an answer neither raises nor lowers the score.
        """
        if self.certificate.threshold is not None:
            return self.certificate.threshold
        return None if self.estimator is None else BREAK_EVEN

    def withheld(self, values: Floats) -> int:
        """Return how many answers with the signals `values` [n, SIGNALS] are below the threshold."""
        return 0 if self.threshold is None else int((self.estimates(values) < self.threshold).sum())

    @property
    def sentence(self) -> str:
        """The certificate as a sentence, and without one, below which confidence the model abstains all the same."""
        if self.certificate.threshold is not None or self.estimator is None:
            return describe(self.certificate)
        return (
            f"{describe(self.certificate)} Without a guarantee, the model abstains below a confidence of "
            f"{BREAK_EVEN:.2f}, where answering lowers the expected score."
        )

    def as_row(self) -> Row:
        """Return the JSON object."""
        return asdict(self)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Confidence":
        """Return the confidence from its JSON object."""
        estimator = Estimator.of(stored["estimator"]) if stored["estimator"] else None
        return cls(estimator, Certificate(**stored["certificate"]))


def calibrate(
    rows: Sequence[Row], values: Floats, config: CalibrateConfig, min_clusters: int, asked: int
) -> Confidence:
    """Fit the estimator on the answers about some documents, and certify a threshold on those about the others.

    Below `min_clusters` effective documents, questions are split instead: all answers about one document on either side
    leave nothing to fit, or nothing to test.
    If none is certified, the estimator is fitted on all answers, since nothing has to be tested, and with the penalty
    `UNCERTIFIED`. `rows` are attempts at `asked` calibration questions, with their signals `values` [rows, SIGNALS].
    """
    fitted = _fitted(_split_by(rows, min_clusters), config.fit_share)
    correct = np.asarray([row["verdict"] == "correct" for row in rows], dtype=bool)
    if missing := _missing(correct[fitted]):
        answers = 2 * missing / config.fit_share  # as if half of them were correct
        more = ceil(answers * asked / len(rows)) if rows else None
        certificate = Certificate(None, config.max_wrong, config.alpha, 0, 0, len(rows), more)
    else:
        estimator = fit(tuple(SIGNALS), values[fitted], correct[fitted], config.penalty)
        confidence, clusters = estimator.confidence(values), np.asarray([row["cluster"] for row in rows])
        ordering, testing = (
            Scored(confidence[part], ~correct[part], list(clusters[part])) for part in (fitted, ~fitted)
        )
        certificate = certify(ordering, testing, config.max_wrong, config.alpha, asked)
        if certificate.threshold is not None:
            return Confidence(estimator, certificate)
    return Confidence(None if _missing(correct) else fit(tuple(SIGNALS), values, correct, UNCERTIFIED), certificate)


def _split_by(rows: Sequence[Row], min_clusters: int) -> list[str]:
    """Return each row's document, or its id below `min_clusters` effective documents."""
    sizes = Counter(row["cluster"] for row in rows).values()
    by_document = bool(rows) and effective_clusters(sizes) >= min_clusters
    return [row["cluster" if by_document else "id"] for row in rows]


def _fitted(units: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Return a mask [n] of the answers that the estimator is fitted on, about a `share` of them.

    `units` [n] are the documents (or questions) of the answers. Whole units are taken in the order of a hash.
    """
    chosen: set[str] = set()
    taken = 0
    for unit, size in sorted(Counter(units).items(), key=lambda each: hashlib.sha256(each[0].encode()).digest()):
        if taken + size / 2 > share * len(units):  # nearer to the share without it
            break
        chosen.add(unit)
        taken += size
    return np.asarray([each in chosen for each in units], dtype=bool)


def _missing(correct: NDArray[np.bool_]) -> int:
    """Return how many correct or wrong answers are missing to fit an estimator."""
    right = int(correct.sum())
    return max(0, MIN_OF_EACH - min(right, len(correct) - right))


def auroc(rows: Sequence[Row], values: Floats, confidence: Floats | None = None) -> dict[str, float]:
    """Return the AUROC (correct against wrong answers) of each signal of `values` and, if given, of the `confidence`.

    It is empty unless there are correct and wrong answers.
    """
    correct = [row["verdict"] == "correct" for row in rows]
    if len(set(correct)) < 2:
        return {}
    columns = dict(zip(SIGNALS, values.T, strict=True))
    if confidence is not None:
        columns["confidence"] = confidence
    return {name: round(float(roc_auc_score(correct, column)), 6) for name, column in columns.items()}


def abstaining(rows: Sequence[Row], confidence: dict[str, float], threshold: float) -> list[Row]:
    """Return rows of answers.jsonl with each attempt below `threshold` as a refusal; `confidence` is by question id."""
    return [
        {**row, "verdict": "refused", "f1": 0.0} if confidence.get(row["id"], threshold) < threshold else row
        for row in rows
    ]


def risk_coverage(rows: Sequence[Row], confidence: Floats, asked: int) -> list[Row]:
    """Return the risk–coverage curve (Geifman and El-Yaniv 2017): one point per answer, the most certain first.

    `coverage` is the share of the `asked` questions that are answered, `risk` the share of wrong ones among the
    answers, and `correct` the share of the asked questions that are answered correctly.
    """
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum([rows[at]["verdict"] == "wrong" for at in order])
    return [
        {
            "coverage": round(count / asked, 6),
            "risk": round(float(failed) / count, 6),
            "correct": round(float(count - failed) / asked, 6),
            "threshold": round(float(confidence[order[count - 1]]), 6),
        }
        for count, failed in enumerate(wrong, 1)
    ]


def risk_by_likelihood(rows: Sequence[Row]) -> list[Row]:
    """Return the risk–coverage curve over the questions about the documents, by the mean log-likelihood of an answer.

    `rows` are those of answers.jsonl. This confidence is not calibrated, but any model has it.
    """
    asked = [row for row in rows if row["set"] != GENERAL]
    attempts = [row for row in asked if is_attempt(row)]
    likelihoods = np.asarray([row["log_likelihood"] for row in attempts], dtype=np.float64)
    return risk_coverage(attempts, likelihoods, len(asked))


def area_under_risk(curve: Sequence[Row]) -> float:
    """Return the mean risk over the coverage reached by a risk–coverage curve (AURC, Geifman and El-Yaniv 2017)."""
    return round(float(np.mean([row["risk"] for row in curve])), 6) if curve else 0.0
