"""Calibration questions are held back by fact."""

from pathlib import Path

from pipelines.curation import calibration
from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.reasons import Reason


def candidate(fact: int, wording: str, reason: str | None = None, makes: str = "question") -> Candidate:
    return Candidate(
        recipe="answer_first",
        version=1,
        makes=makes,
        language="en",
        source="mill.md",
        start=0,
        end=5,
        kind="name",
        window="",
        sentence=f"Sentence {fact}.",
        answer=f"Vosper {fact}",
        question=f"{wording} {fact}?",
        reason=reason,
    )


KEPT = [candidate(fact, wording) for fact in range(20) for wording in ("Who built", "By whom was built")]
REWORDED = [candidate(fact, "Who has built", Reason.NOT_NOVEL) for fact in range(20)]
OTHERS = [candidate(fact, "Who leaks", Reason.LEAK) for fact in range(20)]
UNANSWERABLE = [{"question": f"Who sold {number}?", "kind": "near_miss"} for number in range(10)]


def test_no_held_back_fact_is_trained_on_and_its_rewordings_are_used() -> None:
    kept, refused, asked = calibration.hold_back(KEPT, [*REWORDED, *OTHERS], UNANSWERABLE, 0.2, seed=0)
    answerable = [each for each in asked if each.set == "answerable"]
    facts = {each.accepted[0] for each in answerable}
    assert len(facts) == 4 and len(answerable) == 12
    assert not facts & {each.answer for each in kept} and len(kept) == 32
    assert not any("leaks" in each.question for each in asked)
    assert [each.set for each in asked].count("unanswerable") == 2 and len(refused) == 8
    assert len({each.id for each in asked}) == len(asked) and {each.split for each in asked} == {"calibration"}
    assert answerable[0].cluster == "mill.md"


def test_nothing_is_held_back_with_a_share_of_zero_or_without_short_answers() -> None:
    assert calibration.hold_back(KEPT, REWORDED, UNANSWERABLE, 0.0, seed=0) == (KEPT, UNANSWERABLE, [])
    tasks = [candidate(fact, "Summarise", makes="task") for fact in range(20)]
    kept, _, asked = calibration.hold_back(tasks, [], [], 0.5, seed=0)
    assert kept == tasks and asked == []


def test_questions_are_read_as_they_were_written(tmp_path: Path) -> None:
    _, _, asked = calibration.hold_back(KEPT, REWORDED, UNANSWERABLE, 0.3, seed=1)
    calibration.write(tmp_path, asked)
    assert calibration.read(tmp_path) == asked
