"""The curation report: filter yields, coverage, and examples of kept and rejected questions."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.artifacts import Row
from pipelines.curation.coverage import Coverage
from pipelines.curation.schema import Rejection, TrainingRow
from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.reasons import in_order

TEMPLATE = Path(__file__).parent / "report.html.jinja"

_LEAST_COVERED = 12  # documents listed


def facts(
    documents: Sequence[Row],
    candidates: Sequence[Candidate],
    kept: Sequence[Candidate],
    rejected: Sequence[Rejection],
    rows: Sequence[TrainingRow],
    covered: Coverage,
    examples: int,
) -> dict[str, Any]:
    """Return the variables of the template; examples are a seeded random sample."""
    rng = random.Random(0)
    reasons: dict[str, list[Row]] = defaultdict(list)
    for each in rejected:
        reasons[each.reason].append(each.as_row())
    names = {document["id"]: document["source"] for document in documents}
    least_covered = [
        (names[document], stated, count) for document, stated, count in covered.least_covered(_LEAST_COVERED)
    ]
    missed = [(names[place], sentence) for place, sentence in _missed(covered)]
    return {
        "steps": steps(candidates, rejected),
        "recipes": _recipes(candidates, kept),
        "share_covered": covered.share,
        "stated": sum(map(len, covered.stated.values())),
        "kinds": covered.kinds.most_common(),
        "least_covered": least_covered,
        "missed": rng.sample(missed, min(examples, len(missed))),
        "kept": rng.sample(list(kept), min(examples, len(kept))),
        "rejects": {
            reason: (len(group), rng.sample(group, min(examples, len(group))))
            for reason, group in sorted(reasons.items(), key=lambda pair: -len(pair[1]))
        },
        "rows": Counter(row.kind.value for row in rows).most_common(),
        "names": names,
    }


def steps(candidates: Sequence[Candidate], rejected: Sequence[Rejection]) -> list[tuple[str, int, int]]:
    """Return (reason, candidates it was applied to, candidates it rejected) of every filter, in order."""
    reasons = Counter(each.reason for each in rejected if "recipe" in each.row)
    remaining = len(candidates)
    funnel: list[tuple[str, int, int]] = []
    for reason in in_order(set(reasons)):
        funnel.append((reason, remaining, reasons[reason]))
        remaining -= reasons[reason]
    return funnel


def _recipes(candidates: Sequence[Candidate], kept: Sequence[Candidate]) -> list[tuple[str, int, int]]:
    """Return (name and version, candidates, kept candidates) of every prompt template."""
    written = Counter(f"{each.recipe} {each.version}" for each in candidates)
    survived = Counter(f"{each.recipe} {each.version}" for each in kept)
    return [(name, count, survived[name]) for name, count in written.most_common()]


def _missed(covered: Coverage) -> list[tuple[str, str]]:
    return [
        (document, sentence)
        for document, stated in covered.stated.items()
        for sentence in stated
        if (document, sentence) not in covered.covered
    ]
