"""How many test questions each gate needs (pipelines/evaluation/gate.py). Reads and writes nothing."""

from collections.abc import Mapping
from math import ceil, log, log1p

from pipelines.evaluation.config import CompareConfig

DOMAIN = "domain"
"""Answerable and unanswerable questions together, over which the hallucination rate is measured."""


def too_small(counts: Mapping[str, int], config: CompareConfig) -> list[str]:
    """Return a sentence for each question set that cannot pass its gate however good the model is.

    `counts` are the test questions by set.
    """
    return [
        f"{counts[name]} {name} test questions cannot pass the gate; {least} or more can (docs/evaluation.md)."
        for name, least in needed(config).items()
        if 0 < counts.get(name, 0) < least
    ]


def needed(config: CompareConfig) -> dict[str, int]:
    """Return how many test questions each gate needs: `general`, `answerable`, and `domain`, answerable or not.

    Even if no verdict changes in n questions, a change of p is only excluded with confidence 1 - a when
    (1 - p)^n <= a. Fewer domain questions suffice against a reference that hallucinates more.
    """
    limits = {
        "general": config.max_general_drop,
        "answerable": config.max_over_refusal,
        DOMAIN: config.max_hallucination_rise,
    }
    return {name: ceil(log(config.alpha_per_opening) / log1p(-limit)) for name, limit in limits.items() if limit}
