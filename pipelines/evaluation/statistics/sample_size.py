"""How many test questions each gate needs (pipelines/evaluation/gate.py). Reads and writes nothing."""

from bisect import bisect_left
from collections.abc import Mapping

from pipelines.evaluation.config import CompareConfig
from pipelines.evaluation.statistics.bootstrap import Interval, unchanged

DOMAIN = "domain"
"""Answerable and unanswerable questions together, over which the hallucination rate is measured."""
MOST = 100_000
"""A limit that takes more questions is not checked."""


def too_small(counts: Mapping[str, int], config: CompareConfig) -> list[str]:
    """Return a sentence for each question set on which a model like its reference cannot pass.

    `counts` are the test questions by set.
    """
    asked = {**counts, DOMAIN: counts.get("answerable", 0) + counts.get("unanswerable", 0)}
    return [
        f"{asked[name]} {name} test questions cannot pass the gate if no verdict changes; {least} or more can "
        "(docs/evaluation.md)."
        for name, least in needed(config).items()
        if 0 < asked.get(name, 0) < least
    ]


def needed(config: CompareConfig) -> dict[str, int]:
    """Return how many test questions each gate needs: `general`, `answerable`, and `domain`, answerable or not.

    They are those by which models that are alike on every question pass, against the baseline and the champion. Fewer
    suffice against a reference that hallucinates or refuses more.
    """
    limits: list[tuple[str, float, Interval]] = [
        ("general", config.max_general_drop, (-1.0, 1.0)),
        ("answerable", config.max_over_refusal, (-1.0, 0.0)),
        ("answerable", config.max_over_refusal_rise, (-1.0, 1.0)),
        (DOMAIN, config.max_hallucination_rise, (-1.0, 1.0)),
    ]
    found: dict[str, int] = {}
    for name, limit, changes in limits:
        least = _least(limit, changes, config.alpha_per_opening)
        if least <= MOST:
            found[name] = max(least, found.get(name, 0))
    return found


def _least(limit: float, changes: Interval, alpha: float) -> int:
    def passes(size: int) -> bool:
        return unchanged(size, changes).t_bound(alpha, upper=False) > -limit

    return 1 + bisect_left(range(1, MOST + 1), True, key=passes)
