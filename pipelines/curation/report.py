"""What became of every question, as a page to be read: yields of the filters, coverage, rejects of each reason."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.artifacts import Row
from pipelines.curation.coverage import Coverage

TEMPLATE = Path(__file__).parent / "report.html.jinja"

ORDER = (
    "too_long_for_context",
    "cut_off",
    "filtered",
    "broken_character",
    "not_json",
    "field_missing",
    "not_a_question",
    "too_long",
    "empty_answer",
    "wrong_language",
    "carries_order",
    "evidence_missing",
    "answer_too_long",
    "answer_in_question",
    "answer_of_wrong_kind",
    "points_at_text",
    "not_self_contained",
    "unrelated",
    "unsupported",
    "reader_finds_nothing",
    "reader_disagrees",
    "inconsistent",
    "judge_says_neither",
    "judge_wavers",
    "judge_rejects",
    "leak",
    "not_novel",
    "same_meaning",
)
"""The filters, in the order in which a candidate meets them."""
_THIN = 12  # documents


def facts(
    documents: Sequence[Row],
    candidates: Sequence[Row],
    kept: Sequence[Row],
    rejected: Sequence[Row],
    rows: Sequence[Row],
    covered: Coverage,
    examples: int,
) -> dict[str, Any]:
    """Return what the page shows. Examples are drawn at random, the same ones on every repetition."""
    rng = random.Random(0)
    reasons: dict[str, list[Row]] = defaultdict(list)
    for row in rejected:
        reasons[row["reason"]].append(row)
    names = {document["id"]: document["source"] for document in documents}
    thin = [(names[document], stated, count) for document, stated, count in covered.thin(_THIN)]
    missed = [(names[place], sentence) for place, sentence in _missed(covered)]
    return {
        "steps": steps(candidates, rejected),
        "recipes": _recipes(candidates, kept),
        "share_covered": covered.share,
        "stated": sum(map(len, covered.stated.values())),
        "kinds": covered.kinds.most_common(),
        "thin": thin,
        "missed": rng.sample(missed, min(examples, len(missed))),
        "kept": rng.sample(list(kept), min(examples, len(kept))),
        "rejects": {
            reason: (len(found), rng.sample(found, min(examples, len(found))))
            for reason, found in sorted(reasons.items(), key=lambda pair: -len(pair[1]))
        },
        "rows": Counter(row["kind"] for row in rows).most_common(),
        "names": names,
    }


def steps(candidates: Sequence[Row], rejected: Sequence[Row]) -> list[tuple[str, int, int]]:
    """Return of every filter that rejected something, in their order: its reason, how many it met, and rejected."""
    reasons = Counter(row["reason"] for row in rejected if "recipe" in row)
    met = len(candidates)
    found: list[tuple[str, int, int]] = []
    ordered = [*(reason for reason in ORDER if reason in reasons), *sorted(reasons.keys() - set(ORDER))]
    for reason in ordered:
        found.append((reason, met, reasons[reason]))
        met -= reasons[reason]
    return found


def _recipes(candidates: Sequence[Row], kept: Sequence[Row]) -> list[tuple[str, int, int]]:
    """Return of every recipe its name and version, how many candidates it made, and how many were kept."""
    made = Counter(f"{row['recipe']} {row['version']}" for row in candidates)
    survived = Counter(f"{row['recipe']} {row['version']}" for row in kept)
    return [(name, count, survived[name]) for name, count in made.most_common()]


def _missed(covered: Coverage) -> list[tuple[str, str]]:
    return [
        (document, sentence)
        for document, stated in covered.stated.items()
        for sentence in stated
        if (document, sentence) not in covered.covered
    ]
