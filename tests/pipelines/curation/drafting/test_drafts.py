"""Drafts of evaluation questions: one per fact, disjoint splits, twins that differ in one name."""

import pytest

from pipelines.artifacts import Row
from pipelines.curation.drafting.drafts import (
    Draft,
    Fact,
    Limits,
    answerable,
    choose,
    facts,
    least_literal,
    splits,
    unanswerable,
    unasked,
)
from pipelines.evaluation.questions import Question
from pipelines.synthesis.candidate import Candidate
from tests.support.rows import SENTENCE, candidate

LIMITS = Limits(max_rouge_l=0.7, leak_rouge_l=0.8, min_f1=0.8)


def about(number: int, document: str = "", question: str = "", **changes: object) -> Candidate:
    """Return a candidate about a fact of its own."""
    sentence = f"Lamp {number} is kept by Keeper{number} Vosper."
    question = question or f"Who keeps lamp {number}?"
    fields = {"source": document or f"d{number}", "sentence": sentence, "window": sentence, "answer": f"Keeper{number}"}
    return candidate(question, **(fields | changes))


def drafted(candidates: list[Candidate], taken: dict[str, str] | None = None) -> list[tuple[Draft, Fact]]:
    chosen = choose(facts(candidates, LIMITS), 1000, (), LIMITS)
    return answerable(chosen, {each.source: f"{each.source}.md" for each in candidates}, taken or {}, LIMITS)


def question(text: str, answer: str | None, name: str = "answerable") -> Question:
    return Question("q", name, name, "test", text, (answer,) if answer else (), (), ())


def test_questions_on_one_sentence_or_alike_with_one_answer_are_one_fact() -> None:
    mill = candidate("Who restored the mill?")
    year = candidate("In what year was the mill restored?", answer="1921")
    elsewhere = candidate("Who restored the old mill?", source="d2", sentence="It was Fanthorn.", answer="Fanthorn")
    tower = candidate("Who restored the tower?", source="d2", sentence="Tule did it.", answer="Lorcan Tule")
    dropped = candidate("Who restored it?", reason="unrelated")
    task = candidate("Summarise the restoration.", makes="summary")
    assert facts([mill, year, elsewhere, tower, dropped, task], LIMITS) == [[mill, year, elsewhere], [tower]]


def test_drafts_name_every_document_of_their_fact() -> None:
    elsewhere = candidate("Who restored the old mill?", source="d2", sentence="It was Fanthorn.", answer="Fanthorn")
    ((draft, _),) = drafted([candidate("Who restored the mill?", read="Fanthorn"), elsewhere])
    assert set(draft.sources) == {"d1.md", "d2.md"}


def test_least_literal_wording_is_asked_if_another_stays_in_training() -> None:
    literal = candidate("The mill was restored by whom?")
    free = candidate("Whose money saved the building?")
    ((best, _),) = choose([[literal, free]], 5, (), LIMITS)
    assert best is free
    assert least_literal([literal, free], literal) is free and least_literal([], literal) is literal
    other_answer = candidate("The mill was restored in which year?", answer="1921")
    ((best, _),) = choose([[literal, candidate("By whom was the mill restored?"), other_answer]], 5, (), LIMITS)
    assert best is not other_answer  # no other question of its answer would remain


def test_draft_tells_whether_training_has_another_question_about_its_fact() -> None:
    literal, free = candidate("The mill was restored by whom?"), candidate("Whose money saved the building?")
    near = candidate("The old mill was restored by whom?")
    for fact, alone in (([literal, free], False), ([literal], True), ([literal, near], True)):
        ((draft, _),) = answerable([(literal, fact)], {}, {}, LIMITS)
        assert draft.only_wording is alone


def test_reading_that_differs_from_the_answer_is_an_alias() -> None:
    ((draft, _),) = drafted([about(1, read="old Keeper1 Vosper")])
    assert draft.aliases == ("old Keeper1 Vosper",)
    ((draft, _),) = drafted([about(1, read="keeper1.")])
    assert draft.aliases == ()


def test_facts_with_a_question_or_a_decision_are_left_out() -> None:
    found = facts([about(number) for number in range(5)], LIMITS)
    asked = [
        question("Who keeps lamp 1?", "Keeper1"),
        question("Who keeps lamp 2?", "Nobody"),  # another answer: another fact
        question("Who keeps lamp 3?", None, "unanswerable"),
        question("Who keeps lamp 4?", "Keeper4", "general"),
    ]
    left = unasked(found, asked, {about(0).sentence}, LIMITS)
    assert [fact[0].question for fact in left] == ["Who keeps lamp 2?", "Who keeps lamp 3?", "Who keeps lamp 4?"]


def test_drafts_are_spread_over_documents_and_those_with_twins_come_first() -> None:
    found = [[about(number, "a" if number < 8 else "b")] for number in range(10)]
    chosen = [each.question for each, _ in choose(found, 4, {"Who keeps lamp 7?"}, LIMITS)]
    assert chosen[0] == "Who keeps lamp 7?" and len(chosen) == 4
    assert {"Who keeps lamp 8?", "Who keeps lamp 9?"} <= set(chosen)


def test_splits_are_one_to_two_and_never_share_a_fact_or_a_document() -> None:
    drafts = [draft for draft, _ in drafted([about(number, f"d{number % 12}") for number in range(60)])]
    documents = {side: {each.document for each in drafts if each.split == side} for side in ("validation", "test")}
    assert not documents["validation"] & documents["test"]
    assert [sum(each.split == side for each in drafts) for side in ("validation", "test")] == [20, 40]


def test_few_documents_are_shared_by_the_splits_but_no_fact_is() -> None:
    drafts = [draft for draft, _ in drafted([about(number, "book") for number in range(30)])]
    sentences = {side: {each.sentence for each in drafts if each.split == side} for side in ("validation", "test")}
    assert len(sentences["validation"]) == 10 and len(sentences["test"]) == 20
    assert not sentences["validation"] & sentences["test"]


def test_documents_with_earlier_drafts_keep_their_split() -> None:
    candidates = [about(number) for number in range(12)]
    free = {draft.document: draft.split for draft, _ in drafted(candidates)}
    taken = {name: {"test": "validation", "validation": "test"}[split] for name, split in list(free.items())[:4]}
    sides = {draft.document: draft.split for draft, _ in drafted(candidates, taken)}
    assert {name: sides[name] for name in taken} == taken
    assert splits([], {}) == {}


def test_repeated_question_is_drafted_once() -> None:
    same = [about(number, question="Who keeps the lamp?") for number in range(3)]
    assert len(drafted(same)) == 1


SWAP = {
    "from": "Who restored the mill of Pargell Creek?",
    "question": "Who restored the mill of Lake Turquin?",
    "kind": "swapped_entity",
}


@pytest.mark.parametrize(
    ("wording", "twin"),
    [
        ("Who restored the mill of Pargell Creek?", "Who restored the mill of Lake Turquin?"),
        ("Whose bequest saved Pargell Creek's mill?", "Whose bequest saved Lake Turquin's mill?"),
        ("Whose bequest saved the mill?", None),
    ],
)
def test_twin_differs_from_its_question_in_the_swapped_name(wording: str, twin: str | None) -> None:
    original = candidate(SWAP["from"])
    (pair,) = answerable([(candidate(wording), [original])], {}, {}, LIMITS)
    found = unanswerable([SWAP], [pair], {}, 10)
    assert [each.question for each in found] == ([twin] if twin else [])
    for each in found:
        assert (each.twin, each.split, each.sentence) == (pair[0].id, pair[0].split, SENTENCE)
        assert (each.kind, each.answer, each.sources) == ("swapped_entity", "", ())


def test_near_misses_are_up_to_half_and_keep_to_the_split_of_their_document() -> None:
    candidates = [about(number) for number in range(12)]
    pairs = drafted(candidates)
    rows: list[Row] = [
        {"from": each.question, "question": each.question.replace("lamp", "gate"), "kind": "out_of_domain_entity"}
        for each in candidates
    ]
    rows += [{"from": each.window, "question": f"Why {each.answer}?", "kind": "near_miss"} for each in candidates]
    rows += [{"question": "Who swam?", "kind": "out_of_domain"}, {"from": "gone", "question": "?", "kind": "near_miss"}]
    found = unanswerable(rows, pairs, {each.window: each.source for each in candidates}, 10)
    assert [each.twin is None for each in found].count(True) == 5 == [each.twin is None for each in found].count(False)
    sides = {draft.document: draft.split for draft, _ in pairs}
    assert all(each.split == sides[each.document] for each in found)
