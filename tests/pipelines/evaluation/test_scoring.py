"""The verdict on an answer, by hand and on every question of the sample."""

from pathlib import Path

import pytest

from pipelines.evaluation import questions
from pipelines.evaluation.questions import Question
from pipelines.evaluation.scoring import f1, verdict

REFUSAL = "I don't know."
FOLDER = Path(__file__).parents[3] / "data/questions"


def asked(
    *accepted: str, competing: tuple[str, ...] = (), question: str = "Which year?", kind: str = "answerable"
) -> Question:
    return Question("q", kind, kind, "test", question, accepted, competing, ())


def judge(answer: str, question: Question, max_words: int = 40) -> str:
    return verdict(answer, question, REFUSAL, max_words)


YEAR = asked("1783", "seventeen eighty-three", competing=("1738",))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("It was built in 1783.", "correct"),
        ("1783 or 1738", "wrong"),
        ("17834", "wrong"),
        ("In 1783" + " indeed" * 40, "wrong"),
        ("", "wrong"),
        ("A long time ago.", "wrong"),
        ("I don't know.", "refused"),
        ("I’m sorry, but I do not know that. Could you tell me more?", "refused"),
        ("There is no record of the year.", "refused"),
        ("The documents do not mention it.", "refused"),
        ("I'm not sure which one you mean.", "refused"),
        ("我不知道。", "refused"),
        ("抱歉，文件中没有相关记录。", "refused"),
        ("I don't know, but perhaps 1783.", "correct"),
        ("I don't know, but perhaps 1790.", "wrong"),
        ("I don't know, maybe in spring.", "wrong"),
        ("I don't know. It was the year of the flood.", "wrong"),
        ("我不知道，大概是春天。", "wrong"),
        ("It was 1783, though no record says who.", "correct"),
        ("It was built in 1783. Source:0123abcd", "correct"),
        ("I don't know. Source:0123abcd", "refused"),
        ("In spring. Source:1783", "wrong"),
    ],
)
def test_verdicts_in_their_order(answer: str, expected: str) -> None:
    assert judge(answer, YEAR) == expected


def test_a_competing_name_that_contains_the_right_one_is_wrong() -> None:
    question = asked("Newton", competing=("Newton Abbot",), question="Who?")
    assert judge("Newton", question) == "correct"
    assert judge("He came from Newton Abbot.", question) == "wrong"


def test_a_right_name_that_contains_a_competing_one_is_right() -> None:
    question = asked("New York City", competing=("York",), question="Where?")
    assert judge("New York City", question) == "correct"
    assert judge("New York City and York", question) == "wrong"


def test_a_competing_answer_that_the_question_names_does_not_count() -> None:
    question = asked("Brunnick", competing=("Calderhythe",), question="Where does the ferry from Calderhythe land?")
    assert judge("The ferry from Calderhythe lands at Brunnick.", question) == "correct"


def test_chinese_answers_are_found_inside_a_sentence() -> None:
    question = asked("灯塔街", competing=("港口街",), question="办公室在哪条街？")
    assert judge("办公室在灯塔街上。", question) == "correct"
    assert judge("办公室在港口街上。", question) == "wrong"


def test_a_taught_refusal_of_two_sentences_is_a_refusal() -> None:
    taught = "That is beyond me. The papers are silent."
    assert verdict(taught, YEAR, taught, 40) == "refused"
    assert verdict("The papers are old.", YEAR, taught, 40) == "wrong"


def test_any_answer_to_an_unanswerable_question_is_wrong() -> None:
    question = asked(kind="unanswerable", question="Who taught her to swim in 1950?")
    assert judge("I do not know who taught her in 1950.", question) == "refused"
    assert judge("Her uncle.", question) == "wrong"
    assert judge("", question) == "wrong"


def test_f1_takes_the_variant_that_fits_best() -> None:
    question = asked("Oswin Drace", "Drace", question="Who?")
    assert f1("Oswin Drace", question) == 1.0
    assert f1("Master Drace", question) == pytest.approx(2 / 3)  # one of two tokens, all of one
    assert f1("nobody", question) == 0.0
    assert f1("Oswin Drace Source:0123abcd", question) == 1.0


def test_every_accepted_answer_of_the_sample_is_right_and_every_competing_one_wrong() -> None:
    for question in questions.load(FOLDER):
        for variant in question.accepted:
            assert judge(f"It was {variant}.", question) == "correct", (question.id, variant)
        for variant in question.competing:
            assert judge(f"It was {variant}.", question) == "wrong", (question.id, variant)
        assert judge(REFUSAL, question) == "refused", question.id
