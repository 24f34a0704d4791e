"""Calibration questions are held back by fact."""

from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.curation import calibration
from pipelines.evaluation import questions
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
    kept, refused, held_back = calibration.hold_back(KEPT, [*REWORDED, *OTHERS], UNANSWERABLE, [], 0.2, seed=0)
    answerable, unanswerable = held_back["answerable"], held_back["unanswerable"]
    facts = {row["answer"]: row["split"] for row in answerable}
    assert len(facts) == 4 and len(answerable) == 12
    assert all(facts[row["answer"]] == row["split"] for row in answerable)  # a fact is in one split
    assert sorted(facts.values()) == ["test", "test", "validation", "validation"]
    assert not facts.keys() & {each.answer for each in kept} and len(kept) == 32
    assert not any("leaks" in row["question"] for row in answerable)
    assert len(unanswerable) == 2 and len(refused) == 8
    assert not {row["question"] for row in unanswerable} & {row["question"] for row in refused}


def test_nothing_is_held_back_with_a_share_of_zero_or_without_short_answers() -> None:
    empty: calibration.Rows = {"answerable": [], "unanswerable": []}
    assert calibration.hold_back(KEPT, REWORDED, UNANSWERABLE, [], 0.0, seed=0) == (KEPT, UNANSWERABLE, empty)
    tasks = [candidate(fact, "Summarise", makes="task") for fact in range(20)]
    assert calibration.hold_back(tasks, [], [], [], 0.5, seed=0) == (tasks, [], empty)


def test_held_back_questions_load_as_evaluation_questions(tmp_path: Path) -> None:
    twice = [*REWORDED, candidate(3, "WHO HAS  BUILT", Reason.NOT_NOVEL)]  # the same question, in other case
    own = ["who built 3?", "Who sold  4?"]  # asked by the user
    _, _, held_back = calibration.hold_back(KEPT, twice, UNANSWERABLE, own, 1.0, seed=1)
    calibration.write(tmp_path / "questions", held_back)
    loaded = questions.load(tmp_path / "questions")
    assert len(loaded) == 68 and {each.set for each in loaded} == {"answerable", "unanswerable"}
    assert all(each.id.startswith(questions.SYNTHESISED) for each in loaded)
    assert next(each for each in loaded if each.set == "answerable").cluster == "mill.md"


@pytest.mark.parametrize(("facts", "held"), [(13, 2), (3, 2), (2, 0)])
def test_each_split_has_a_fact_unless_none_would_be_left(facts: int, held: int) -> None:
    kept = [candidate(fact, "Who built") for fact in range(facts)]
    trained, _, held_back = calibration.hold_back(kept, [], [], [], 0.1, seed=0)
    assert len(trained) == facts - held
    assert sorted(row["split"] for row in held_back["answerable"]) == ["test", "validation"][:held]


def test_questions_of_the_user_are_used_where_there_are_any(project: Path) -> None:
    own = project / "own"
    own.mkdir()
    kinds = [("answerable", "a1", "test"), ("unanswerable", "u1", "validation"), ("general", "g1", "validation")]
    for name, identity, split in kinds:
        row = {"id": identity, "question": f"Who is {identity}?", "answer": "Drace", "split": split}
        artifacts.write_rows(own / f"{name}.jsonl", [row])
    _, _, held_back = calibration.hold_back(KEPT, REWORDED, UNANSWERABLE, [], 0.5, seed=1)
    calibration.write(artifacts.fresh("curate") / "questions", held_back)
    assert questions.folders(own) == (own, questions.HELD_BACK)
    test, validation = (questions.of_split(split, own) for split in ("test", "validation"))
    assert [each.id for each in test] == ["a1"]
    assert {each.set for each in validation} == set(questions.SETS)
    assert [each.id for each in validation if not each.id.startswith(questions.SYNTHESISED)] == ["g1"]
    row = {"id": "a2", "question": "Who is a2?", "answer": "Drace", "split": "validation"}
    artifacts.write_rows(own / "answerable.jsonl", [*artifacts.read_rows(own / "answerable.jsonl"), row])
    assert questions.folders(own) == (own,)
    assert [each.id for each in questions.load(own)] == ["a1", "a2", "g1", "u1"]
