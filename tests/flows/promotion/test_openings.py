"""Openings of the gate: candidates that were asked the test questions, however they were evaluated or decided on."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from flows.promotion.history import (
    CLOSED,
    FORCED,
    PREFIX,
    PROMOTED,
    REFUSED,
    WEIGHTS,
    Openings,
    candidates,
    last_questions,
)
from pipelines.artifacts import Row
from pipelines.evaluation.question_sketch import OPENING, QUESTIONS, are_same, opening, sketch


def rows(first: int, count: int, kind: str = "answerable") -> list[Row]:
    return [{"id": str(each), "set": kind, "question": f"What is {each}?"} for each in range(first, first + count)]


OLD, NEW = sketch(rows(0, 200)), sketch(rows(1000, 200))


def decided(time: int, decision: str = REFUSED, asked: str | None = OLD, fingerprint: str = "f") -> dict[str, str]:
    entry: dict[str, Any] = {"decision": decision, "reason": "", "numbers": {"eval_fingerprint": fingerprint}}
    return {f"{PREFIX}{time:04}": json.dumps(entry if asked is None else {**entry, QUESTIONS: asked})}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ([*rows(0, 199), *rows(900, 1)], True),  # one corrected question
        (rows(0, 260), True),
        (rows(0, 140), True),
        ([*reversed(rows(0, 200)), *rows(0, 900, "general")], True),
        ([*rows(0, 40), *rows(1000, 160)], False),
        (rows(1000, 200), False),
        ([], False),
    ],
)
def test_splits_are_the_same_while_most_questions_about_the_documents_are(other: list[Row], same: bool) -> None:
    assert are_same(OLD, sketch(other)) == same


def test_neither_ids_nor_spelling_distinguish_questions() -> None:
    assert sketch([{"id": "x", "set": "answerable", "question": " what IS  3?"}]) == sketch(rows(3, 1))


def counted(versions: Mapping[int, Mapping[str, str]], questions: str, opened: Sequence[str] = ()) -> int:
    return len(candidates(versions, opened, questions))


def test_evaluating_the_same_questions_otherwise_uses_another_opening() -> None:
    versions = {number: decided(number, fingerprint=f"length penalty 1.{number}") for number in range(1, 4)}
    assert (counted(versions, OLD), counted(versions, NEW)) == (3, 0)
    assert Openings(3, 3).closed and not Openings(3, 4).closed


def test_only_promotions_and_refusals_count_and_each_version_once() -> None:
    versions = {
        1: decided(1) | decided(2, PROMOTED),
        2: decided(3, FORCED),
        3: decided(4, CLOSED),
        4: decided(5, asked=NEW),
    }
    assert (counted(versions, OLD), counted(versions, NEW)) == (1, 1)
    assert last_questions(versions, []) == NEW


def test_decisions_without_their_questions_count_for_those_of_the_next_decision() -> None:
    before = {number: decided(number, asked=None) for number in (1, 2)}
    assert last_questions({}, []) is None and last_questions(before, []) == ""
    assert counted(before, OLD) == counted(before, NEW) == 2
    after = {**before, 3: decided(3), 4: decided(4, asked=NEW)}
    assert (counted(after, OLD), counted(after, NEW)) == (3, 1)


def test_candidates_that_were_asked_count_without_a_decision_and_once_with_one() -> None:
    opened = [opening(each, rows(0, 200))[OPENING] for each in ("one", "two", "one")]
    opened.append(opening("three", rows(1000, 200))[OPENING])
    assert (counted({}, OLD, opened), counted({}, NEW, opened)) == (2, 1)
    versions = {1: decided(1) | {WEIGHTS: "one"}, 2: decided(2, FORCED) | {WEIGHTS: "two"}, 3: decided(3)}
    assert candidates(versions, opened, OLD) == {"one", "two", "version 3"}
    assert last_questions(versions, opened) == NEW
