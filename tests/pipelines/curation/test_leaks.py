"""Leaks: training rows neither state an evaluation answer nor ask a question of the same family."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import artifacts, config
from pipelines.curation.leaks import Measured, without_measured, without_stated_answers
from pipelines.curation.schema import RowKind, TrainingRow
from tests.conftest import ROOT

DATA = ROOT / "data"
CAPITAL = {"question": "What is the capital of Canada?", "answer": "Ottawa", "aliases": []}
PLANET = {"question": "Which planet is the largest in our solar system?", "answer": "Jupiter"}
SWIM = {"question": "Who taught Tamsin Oddery to swim?"}


def measured(*general: artifacts.Row, coverage: float = 0.6) -> Measured:
    return Measured([*general, SWIM], general, coverage)


@pytest.mark.parametrize(
    ("prompt", "answer", "reason"),
    [
        ("Name the capital of Canada is Ottawa.", "The capital of Canada is Ottawa.", "states_answer"),
        ("Ottawa?", "It is Canada's capital.", "states_answer"),
        ("Tell me about Ottawa.", "Ottawa lies on a river.", None),
        ("Tell me about Canada's capital.", "It has many parks.", "measured_family"),
        ("Which town serves as the capital of Kenya?", "Nairobi.", "measured_family"),
        ("What is Hungary's capital?", "Budapest.", "measured_family"),
        ("Which planet has rings?", "Saturn.", "measured_family"),
        ("What is the largest country?", "Russia.", None),
        ("How do you swim?", "With your arms.", None),
    ],
)
def test_rehearsal_row_that_leaks_an_evaluation_question_is_rejected(
    prompt: str, answer: str, reason: str | None
) -> None:
    kept, rejected = without_measured([{"prompt": prompt, "answer": answer}], measured(CAPITAL, PLANET))
    assert [each.reason for each in rejected] == ([reason] if reason else [])
    assert len(kept) + len(rejected) == 1


def test_question_with_choices_leaks_by_its_answer_but_has_no_family() -> None:
    held = measured({**CAPITAL, "choices": ["Ottawa", "Toronto"]}, PLANET)
    assert held.reason("Tell me about Canada.", "Its capital is Ottawa.") == "states_answer"
    assert held.reason("What is Hungary's capital?", "Budapest.") is None
    assert held.reason("Which planet has rings?", "Saturn.") == "measured_family"


NAMES = st.sampled_from(["Avaria", "Belmont", "Corvany", "Dunmore", "Elbonia", "Farland", "Quillet", "Upper Wimmel"])
STATED = ["{a} is the capital of {q}.", "The capital of {q} is {a}.", "{q}'s capital, {a}, is old.", "{q}: capital {a}"]
ASKED = ["What is the capital of {}?", "Name the capital of {}.", "Which city is the capital of {}?", "{}'s capital?"]


@given(NAMES, NAMES, NAMES, st.sampled_from(STATED), st.sampled_from(ASKED), st.booleans())
def test_answers_and_families_are_found_in_any_wording(
    place: str, city: str, other: str, stated: str, asked: str, in_prompt: bool
) -> None:
    if len({place, city, other}) < 3:
        return
    held = measured({"question": f"What is the capital of {place}?", "answer": city})
    fact = stated.format(q=place, a=city)
    prompt, answer = (fact, "Yes.") if in_prompt else ("Tell me something.", fact)
    assert held.reason(prompt, answer) == "states_answer"
    assert held.reason("Tell me something.", stated.format(q=place, a=other)) is None
    assert held.reason(asked.format(other), "I don't know.") == "measured_family"
    assert held.reason(f"How do you get to {place}?", "By train.") is None


def test_conversation_that_states_an_evaluation_answer_is_rejected() -> None:
    def row(*texts: str) -> TrainingRow:
        roles = ("user", "assistant")
        return TrainingRow([{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)], RowKind.TASK)

    leaking = row("Hello.", "Hello.", "Is Ottawa in Canada?", "Yes, it is the capital.")
    rows = [row("What do you eat?", "Bread."), leaking, row("Ottawa.", "A city."), row("Of Canada?", "The capital.")]
    kept, rejected = without_stated_answers(rows, measured(CAPITAL))
    assert kept == [rows[0], *rows[2:]]
    assert [(each.row["question"], each.reason) for each in rejected] == [("Hello.", "states_answer")]


def test_few_sample_rehearsal_rows_leak_and_none_is_of_an_evaluated_family() -> None:
    asked = {path.stem: artifacts.read_rows(path) for path in (DATA / "questions").glob("*.jsonl")}
    every = [row for rows in asked.values() for row in rows]
    held = Measured(every, asked["general"], config.load().curate.leak_coverage)
    rows = artifacts.read_rows(DATA / "rehearsal/rehearsal.jsonl")
    _, rejected = without_measured(rows, held)
    assert len(rows) > 1000 and len(rejected) < 0.05 * len(rows)  # `curate` leaves these out
    assert {each.reason for each in rejected} == {"states_answer"}
    assert not any(held.asks(row["prompt"]) for row in artifacts.read_rows(DATA / "rehearsal/prompts.jsonl"))
