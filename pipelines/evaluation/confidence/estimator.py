"""The probability that an answer is correct: a logistic mixture of signals. Reads and writes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimator:
    """A logistic regression over standardised signals, in the order of `signals`."""

    signals: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float

    def confidence(self, values: Floats) -> Floats:
        """Return the probability of being correct [n] of answers with the signals `values` [n, signals]."""
        standard = (values - np.asarray(self.mean)) / np.asarray(self.scale)
        probability: Floats = expit(standard @ np.asarray(self.weights) + self.bias)
        return probability

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Estimator":
        """Return the estimator from its JSON object."""
        mean, scale, weights = (tuple(map(float, stored[key])) for key in ("mean", "scale", "weights"))
        return cls(tuple(stored["signals"]), mean, scale, weights, float(stored["bias"]))


def fit(signals: tuple[str, ...], values: Floats, correct: NDArray[np.bool_], penalty: float) -> Estimator:
    """Fit an estimator to the signals `values` [n, signals] of answers of which some are `correct` [n].

    With `penalty` (the weight of the squared coefficients), few questions suffice.

    Raises:
        ValueError: all answers are correct, or none is.
    """
    scaler = StandardScaler().fit(values)
    model = LogisticRegression(C=1 / penalty).fit(scaler.transform(values), correct)
    return Estimator(
        signals,
        mean=tuple(scaler.mean_.tolist()),
        scale=tuple(scaler.scale_.tolist()),
        weights=tuple(model.coef_[0].tolist()),
        bias=float(model.intercept_[0]),
    )
