"""Preference pairs as token ids, and blocks of parameters for each loss."""

from collections.abc import Sequence
from typing import Any

from pipelines.alignment.config import PreferenceBlock
from pipelines.alignment.sequences import Pair

PARAMETERS: dict[str, dict[str, float]] = {
    "robust": {"label_smoothing": 0.1},
    "simpo": {"target_margin": 0.3},
    "kto": {"desirable_weight": 1.0, "undesirable_weight": 1.5},
    "orpo": {"sft_weight": 1.0},
    "cpo": {"sft_weight": 1.0},
}
"""Parameters of the losses that need more than `beta`."""


def block(loss: str, **changes: Any) -> PreferenceBlock:
    """Return the parameters of a loss, with `beta` 0.5 and, unless the loss includes it, without SFT loss."""
    values: dict[str, Any] = dict.fromkeys(
        ("label_smoothing", "target_margin", "desirable_weight", "undesirable_weight")
    )
    values |= {"loss": loss, "beta": 0.5, "sft_weight": 0.0, "learning_rate": 1e-3, "epochs": 1, "batch_size": 4}
    return PreferenceBlock.model_validate(values | PARAMETERS.get(loss, {}) | changes)


def pairs(prompts: Sequence[Sequence[int]]) -> list[Pair]:
    """Return a pair of answers of different lengths for each prompt."""
    return [
        ((list(prompt), [*range(50, 53 + n)]), (list(prompt), [*range(80, 86 - n % 4)]))
        for n, prompt in enumerate(prompts)
    ]
