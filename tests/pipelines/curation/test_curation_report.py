"""The funnel of the curation report: filters in order, each with what it was applied to."""

import ast

from pipelines.curation.report import steps
from pipelines.curation.schema import Rejection
from pipelines.synthesis.reasons import Reason, in_order
from tests.conftest import ROOT
from tests.support.rows import candidate


def test_funnel_follows_the_filters_and_starts_with_failed_calls() -> None:
    reasons = ["leak", "timeout", "writer_unsure", "reader_unsure", "leak", "repeats_itself"]
    candidates = [candidate(f"Who restored mill {number}?") for number in range(10)]
    rejected = [Rejection(each.as_row(), reason) for each, reason in zip(candidates, reasons, strict=False)]
    refusal = Rejection({"question": "Why?", "kind": "out_of_domain"}, Reason.TOO_CLOSE)  # never was a candidate
    assert steps(candidates, [*rejected, refusal]) == [
        ("timeout", 10, 1),
        ("writer_unsure", 9, 1),
        ("repeats_itself", 8, 1),
        ("reader_unsure", 7, 1),
        ("leak", 6, 2),
    ]


def test_every_reason_has_a_place_in_the_order() -> None:
    assert in_order({"status_500", *map(str, Reason)}) == ["status_500", *Reason]


def test_reasons_are_members_of_the_enumeration_wherever_rows_are_rejected() -> None:
    """A literal such as `rejected("too_long")` would be missing in the order of reports."""
    literals = []
    for package in ("synthesis", "curation", "alignment"):
        for path in sorted((ROOT / "pipelines" / package).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                if getattr(node.func, "attr", getattr(node.func, "id", "")) in ("rejected", "Rejection"):
                    literals += [f"{path.name}: {each.value!r}" for each in node.args if isinstance(each, ast.Constant)]
    assert literals == []
