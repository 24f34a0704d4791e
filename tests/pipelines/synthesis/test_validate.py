"""Validation: each check runs on survivors only, and every rejection keeps its reason."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.validate import Validator
from tests.support.teachers import Script, question_in

SENTENCE = "The mill was restored by Wilmot Fanthorn in 1921."
START = 300
Make = Callable[..., Validator]

SPAN = Candidate(
    recipe="answer_first",
    version=1,
    makes="question",
    language="en",
    source="d1",
    start=START + SENTENCE.index("Wilmot"),
    end=START + SENTENCE.index(" in 1921"),
    kind="name",
    window=f"The mill\n{SENTENCE}",
    sentence=SENTENCE,
    answer="Wilmot Fanthorn",
    question="Who restored the mill?",
)


def reader(**answers: str) -> Script:
    return Script(lambda prompt: answers.get(question_in(prompt).split()[0], "Not stated."))


def test_only_survivors_reach_the_reader_and_reasons_are_kept(make_validator: Make) -> None:
    candidates = [
        SPAN,
        replace(SPAN, question="Mill?"),
        replace(SPAN, question="Whose is the mill?"),
        SPAN.rejected("budget"),
        replace(SPAN, question="What became of the mill?", answer="Wilmot Fanthorn"),
    ]
    script = reader(Who="Wilmot Fanthorn.", What="the barley")
    found = make_validator(script).validate(candidates, "question")
    assert [each.reason for each in found] == [
        None,
        "not_a_question",
        "reader_finds_nothing",
        "budget",
        "reader_disagrees",
    ]
    assert len(script.calls) == 3


def test_another_span_of_the_sentence_becomes_the_answer_with_its_offsets(make_validator: Make) -> None:
    candidate = replace(SPAN, question="When was the mill restored?", answer="in 1921")
    candidate = replace(candidate, start=START + SENTENCE.index("in 1921"), end=START + SENTENCE.index("."))
    (found,) = make_validator(reader(When="1921.")).validate([candidate], "question")
    assert (found.reason, found.answer) == (None, "1921")
    assert (found.start, found.end) == (START + SENTENCE.index("1921"), START + SENTENCE.index("1921") + 4)


def test_answer_of_the_reader_must_fit_the_question_word(make_validator: Make) -> None:
    (found,) = make_validator(reader(Who="1921.")).validate([SPAN], "question")
    assert found.reason == "answer_of_wrong_kind"


def test_paraphrase_must_keep_the_answer(make_validator: Make) -> None:
    wording = replace(SPAN, recipe="paraphrase", makes="wording")
    (found,) = make_validator(reader(Who="1921.")).validate([wording], "wording")
    assert found.reason == "reader_disagrees"


def test_low_token_probability_is_rejected(make_validator: Make) -> None:
    sure, guessed = replace(SPAN, writer_probability=0.3), replace(SPAN, writer_probability=0.1)
    named = replace(sure, question="Who restored the mill of Kenslow?")
    script = Script(lambda _: "Wilmot Fanthorn", certainty=0.6)
    found = make_validator(script).validate([SPAN, sure, guessed, named], "question")
    assert [each.reason for each in found] == [None, None, "writer_unsure", "name_from_elsewhere"]
    assert (found[0].reader_probability, len(script.calls)) == (0.6, 2)
    guessing = Script(lambda prompt: "Fanthorn" if "mill?" in prompt else "Wilmot Fanthorn", certainty=0.4)
    same = replace(SPAN, question="Who restored it for the mill in 1921?")
    assert [each.reason for each in make_validator(guessing).validate([SPAN, same], "question")] == [
        "reader_unsure",
        None,
    ]


def test_self_consistency_requires_agreement(make_validator: Make) -> None:
    texts = iter(
        ["Wilmot Fanthorn", "Wilmot Fanthorn", "Fanthorn", "1921", "Wilmot Fanthorn", "barley", "oats", "1921"]
    )
    script = Script(lambda _: next(texts))
    consistent, inconsistent = make_validator(script, samples=3).validate([SPAN, replace(SPAN)], "question")
    assert consistent.consistency == pytest.approx(2 / 3) and consistent.reason is None
    assert (inconsistent.consistency, inconsistent.reason) == (0.0, "inconsistent")
    assert {call.sample for call in script.calls[2:]} == {0, 1, 2}
    assert {call.temperature for call in script.calls} == {None, 0.8}


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ("AB", None),
        ("BA", "judge_rejects"),
        ("AA", "judge_wavers"),
        ("BB", "judge_wavers"),
        ("AX", "judge_says_neither"),
    ],
)
def test_judge_is_asked_in_both_orders_with_the_window(make_validator: Make, choices: str, reason: str | None) -> None:
    texts = iter(choices)
    judge = Script(lambda _: next(texts))
    (found,) = make_validator(reader(Who="Wilmot Fanthorn"), judge).validate([SPAN], "question")
    assert found.reason == reason
    first, second = (call.messages[-1]["content"] for call in judge.calls)
    assert SENTENCE in first and "A: The question is clear" in first and "B: The question is clear" in second


def test_failed_call_is_the_rejection_reason(make_validator: Make) -> None:
    (found,) = make_validator(Script(lambda _: None)).validate([SPAN], "question")
    assert found.reason == "timeout"


def test_longer_answers_are_judged_without_a_round_trip(make_validator: Make) -> None:
    text = replace(SPAN, makes="text", answer="Wilmot Fanthorn restored the mill.")
    script, judge = reader(), Script(lambda prompt: "A" if "A: The question is clear" in prompt else "B")
    (found,) = make_validator(script, judge).validate([text], "text")
    assert found.reason is None
    assert not script.calls and len(judge.calls) == 2


def test_reader_abstains_in_either_language(make_validator: Make) -> None:
    script = Script(lambda prompt: "文中未提及。" if "问题" in prompt else "Not stated")
    assert make_validator(script).abstains(["a", "乙"], ["Who?", "谁？"], ["en", "zh"]) == [True, True]
    assert make_validator(Script(lambda _: "Orr")).abstains(["a"], ["Who?"], ["en"]) == [False]
