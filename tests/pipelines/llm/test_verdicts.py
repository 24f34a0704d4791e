"""Verdicts: assertions are parsed, mere mentions of a letter or number are ignored, and no verdict is ever wrong."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.llm.calls import Reply
from pipelines.llm.prompts import load
from pipelines.llm.verdicts import letter, number
from tests.support.teachers import PROMPTS

COMPARE, RATE = load(PROMPTS, "compare"), load(PROMPTS, "rate")

SAID = [
    "{x}",
    "({x})",
    "**{x}**",
    "[[{x}]]",
    "\\boxed{{{x}}}",
    "Answer {x}",
    "Answer: {x}",
    "Final answer: **{x}**.",
    "答案：{x}",
    "选{x}",
    "Answer {x} is better.",
    "{x} is better than {y}.",
    "I prefer {x} over {y}.",
    "{x}, not {y}.",
    "Both are bad, but {x}.",
    "Not {y}, but {x}.",
    "{x}, because {y} is invented.",
    "{y} is wrong, {x} is right.",
    "The answer is {x}.",
    "{x}. The other one names no year.",
    "{x}\n\nIt is right.",
    "Which is better? {x}.",
    "A good answer names the year. So {x}.",
]
SILENT = [
    "Neither {x} nor {y} is better.",
    "{x} is not better.",
    "I don't think {x} is better.",
    "{x}, {y} and C are equal.",
    "If {x} is right, {y} is wrong.",
    "Worse answer: {x}",
    "Worst: {x}",
    "Which is worse? {x}.",
    "Is {x} better?",
    "{x}: 3, {y}: 8",
    "Anything but {x}.",
    "It is hard to tell {x} from {y}.",
    "The answer is not {x}.",
    "A good answer would name the year.",
    "Both are fine.",
    "{x} or {y}",
    "As good as {x}.",
    'Reply with {{"choice": "{x}"}} or {{"choice": "{y}"}}',
]
BEFORE = [
    "",
    "Both answers name the keeper. ",
    "A clear case. ",
    "The source says 1931. ",
    "Let me see: the year is wrong. ",
]
LETTERS = st.sampled_from([("A", "B"), ("B", "A")])


@pytest.mark.parametrize("form", SAID)
def test_asserted_letter_is_parsed(form: str) -> None:
    for x, y in ("AB", "BA"):
        assert letter(COMPARE, Reply(form.format(x=x, y=y))) == x
        assert letter(COMPARE, Reply(json.dumps({"choice": x}))) == x


@pytest.mark.parametrize("form", SILENT)
def test_mentioned_letter_is_ignored(form: str) -> None:
    assert {letter(COMPARE, Reply(form.format(x=x, y=y))) for x, y in ("AB", "BA")} == {None}


@given(
    LETTERS, st.sampled_from(BEFORE), st.sampled_from(SAID), st.lists(st.sampled_from(SILENT), max_size=2), st.randoms()
)
def test_letter_among_other_sentences_is_correct_or_none(
    pair: tuple[str, str], before: str, said: str, silent: list[str], order: Random
) -> None:
    x, y = pair
    sentences = [said.format(x=x, y=y), *(each.format(x=y, y=x) for each in silent if "choice" not in each)]
    order.shuffle(sentences)
    assert letter(COMPARE, Reply(before + "\n".join(sentences))) in (x, None)


SCORED = [
    "{n}",
    "{n}/10",
    "{n} out of 10",
    "**{n}**",
    "Score: {n}",
    "Number: {n}",
    "{n}, because it is right.",
    "评分：{n}",
    "On a scale of 1 to 10, I give {n}",
    "On a scale from 1 (worst) to 10 (best), this is a {n}.",
    "{n}分",
    "I'd rate this answer {n}.",
    "Score: {n}/10. Two facts are wrong.",
    "Clarity score: {m}. Overall score: {n}.",
    "1. It is right. 2. It is clear. Score: {n}",
    '{{"choice": {n}}}',
    '{{"choice": "{n}/10"}}',
]
UNSCORED = [
    "{n} facts are wrong",
    "I would not give it a {n}.",
    "I give {n} if it names the year.",
    "{n}0%",
    "-{n}",
    "{n},5",
    "Between {n} and {m}.",
    "{n}-{m}",
    "Answer {n} names {m} facts.",
    "19{n}1",
    "a scale of 1 to 10",
    "{n}th",
]
POINTS = st.integers(1, 10)


@given(POINTS, POINTS, st.sampled_from(SCORED))
def test_asserted_number_is_parsed(n: int, m: int, form: str) -> None:
    assert number(RATE, Reply(form.format(n=n, m=m)), 1, 10) == n


@given(POINTS, POINTS, st.sampled_from(UNSCORED))
def test_mentioned_number_is_ignored(n: int, m: int, form: str) -> None:
    assert number(RATE, Reply(form.format(n=n, m=m)), 1, 10) is None


@given(
    POINTS, POINTS, st.sampled_from(SCORED), st.lists(st.sampled_from([*UNSCORED, *BEFORE]), max_size=2), st.randoms()
)
def test_number_among_other_sentences_is_correct_or_none(
    n: int, m: int, form: str, others: list[str], order: Random
) -> None:
    sentences = [form.format(n=n, m=m), *(each.format(n=m, m=n) for each in others)]
    order.shuffle(sentences)
    assert number(RATE, Reply("\n".join(sentences)), 1, 10) in (n, None)


@given(st.text() | st.text(st.sampled_from("ABC10 .,:;?!\n{}\"'")))
def test_parsing_never_raises_on_any_reply(text: str) -> None:
    assert letter(COMPARE, Reply(text)) in ("A", "B", "C", None)
    assert 1 <= (number(RATE, Reply(text), 1, 10) or 1) <= 10
