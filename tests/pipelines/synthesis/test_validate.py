"""Examining: each check sees what survived the one before, and every reject keeps its reason."""

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


def test_only_survivors_are_read_and_reasons_stay(examined_by: Make) -> None:
    asked = [
        SPAN,
        replace(SPAN, question="Mill?"),
        replace(SPAN, question="Whose is the mill?"),
        SPAN.rejected("budget"),
        replace(SPAN, question="What became of the mill?", answer="Wilmot Fanthorn"),
    ]
    people = reader(Who="Wilmot Fanthorn.", What="the barley")
    found = examined_by(people).examine(asked, "question")
    assert [each.reason for each in found] == [
        None,
        "not_a_question",
        "reader_finds_nothing",
        "budget",
        "reader_disagrees",
    ]
    assert len(people.calls) == 3


def test_another_span_of_the_sentence_becomes_the_answer_with_its_place(examined_by: Make) -> None:
    asked = replace(SPAN, question="When was the mill restored?", answer="in 1921")
    asked = replace(asked, start=START + SENTENCE.index("in 1921"), end=START + SENTENCE.index("."))
    (found,) = examined_by(reader(When="1921.")).examine([asked], "question")
    assert (found.reason, found.answer) == (None, "1921")
    assert (found.start, found.end) == (START + SENTENCE.index("1921"), START + SENTENCE.index("1921") + 4)


def test_the_readers_words_must_fit_the_question(examined_by: Make) -> None:
    (found,) = examined_by(reader(Who="1921.")).examine([SPAN], "question")
    assert found.reason == "answer_of_wrong_kind"


def test_a_new_wording_must_keep_the_answer(examined_by: Make) -> None:
    wording = replace(SPAN, recipe="paraphrase", makes="wording")
    (found,) = examined_by(reader(Who="1921.")).examine([wording], "wording")
    assert found.reason == "reader_disagrees"


def test_who_had_to_guess_a_word_is_not_believed(examined_by: Make) -> None:
    sure, guessed = replace(SPAN, writer_probability=0.3), replace(SPAN, writer_probability=0.1)
    named = replace(sure, question="Who restored the mill of Kenslow?")
    people = Script(lambda _: "Wilmot Fanthorn", certainty=0.6)
    found = examined_by(people).examine([SPAN, sure, guessed, named], "question")
    assert [each.reason for each in found] == [None, None, "writer_unsure", "name_from_elsewhere"]
    assert (found[0].reader_probability, len(people.calls)) == (0.6, 2)
    guessing = Script(lambda prompt: "Fanthorn" if "mill?" in prompt else "Wilmot Fanthorn", certainty=0.4)
    same = replace(SPAN, question="Who restored it for the mill in 1921?")
    assert [each.reason for each in examined_by(guessing).examine([SPAN, same], "question")] == ["reader_unsure", None]


def test_sampled_answers_must_agree(examined_by: Make) -> None:
    said = iter(["Wilmot Fanthorn", "Wilmot Fanthorn", "Fanthorn", "1921", "Wilmot Fanthorn", "barley", "oats", "1921"])
    people = Script(lambda _: next(said))
    steady, wavering = examined_by(people, samples=3).examine([SPAN, replace(SPAN)], "question")
    assert (steady.consistency, steady.reason) == (pytest.approx(2 / 3), None)
    assert (wavering.consistency, wavering.reason) == (0.0, "inconsistent")
    assert {call.sample for call in people.calls[2:]} == {0, 1, 2}
    assert {call.temperature for call in people.calls} == {None, 0.8}


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
def test_the_judge_sees_the_window_in_both_orders(examined_by: Make, choices: str, reason: str | None) -> None:
    said = iter(choices)
    judge = Script(lambda _: next(said))
    (found,) = examined_by(reader(Who="Wilmot Fanthorn"), judge).examine([SPAN], "question")
    assert found.reason == reason
    first, second = (call.messages[-1]["content"] for call in judge.calls)
    assert SENTENCE in first and "A: The question is clear" in first and "B: The question is clear" in second


def test_a_failed_call_is_a_reason(examined_by: Make) -> None:
    (found,) = examined_by(Script(lambda _: None)).examine([SPAN], "question")
    assert found.reason == "timeout"


def test_longer_answers_are_judged_but_not_read(examined_by: Make) -> None:
    text = replace(SPAN, makes="text", answer="Wilmot Fanthorn restored the mill.")
    people, judge = reader(), Script(lambda prompt: "A" if "A: The question is clear" in prompt else "B")
    (found,) = examined_by(people, judge).examine([text], "text")
    assert found.reason is None
    assert not people.calls and len(judge.calls) == 2


def test_abstaining_is_silence_in_either_language(examined_by: Make) -> None:
    people = Script(lambda prompt: "文中未提及。" if "问题" in prompt else "Not stated")
    assert examined_by(people).abstains(["a", "乙"], ["Who?", "谁？"], ["en", "zh"]) == [True, True]
    assert examined_by(Script(lambda _: "Orr")).abstains(["a"], ["Who?"], ["en"]) == [False]
