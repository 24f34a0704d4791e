"""Verdicts on worked examples, on generated answers, and on every question of the sample."""

import random
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evaluation import questions
from pipelines.evaluation.questions import Question
from pipelines.evaluation.scoring import VERDICTS, f1, is_correct, verdict
from pipelines.text.normalize import tokens
from tests.conftest import ROOT

REFUSAL = "I don't know."
FOLDER = ROOT / "data/questions"


def asked(
    *accepted: str, competing: tuple[str, ...] = (), question: str = "Which year?", kind: str = "answerable"
) -> Question:
    return Question("q", kind, kind, "test", question, accepted, competing, ())


def judge(answer: str, question: Question, max_extra_words: int = 25) -> str:
    return verdict(answer, question, REFUSAL, max_extra_words)


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
        ("As far as I can tell it is not mentioned.", "refused"),
        ("Since the text does not mention it I cannot say.", "refused"),
        ("The book did not mention it.", "refused"),
        ("The article did not say who built it.", "refused"),
        ("The archives did not contain any information about it.", "refused"),
        ("The passage provided did not contain information.", "refused"),
        ("I'm not sure which one you mean.", "refused"),
        ("我不知道。", "refused"),
        ("抱歉，文件中没有相关记录。", "refused"),
        ("很抱歉，我没有关于建造年份的信息。", "refused"),
        ("没有人知道是哪一年。", "refused"),
        ("无论资料怎么说，是春天。", "wrong"),
        ("The text does not provide any information about the year.", "refused"),
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
def test_verdict_rules_apply_in_order(answer: str, expected: str) -> None:
    assert judge(answer, YEAR) == expected


def test_competing_name_containing_the_accepted_one_is_wrong() -> None:
    question = asked("Newton", competing=("Newton Abbot",), question="Who?")
    assert judge("Newton", question) == "correct"
    assert judge("He came from Newton Abbot.", question) == "wrong"


def test_accepted_name_containing_a_competing_one_is_correct() -> None:
    question = asked("New York City", competing=("York",), question="Where?")
    assert judge("New York City", question) == "correct"
    assert judge("New York City and York", question) == "wrong"


def test_competing_answer_named_in_the_question_is_ignored() -> None:
    question = asked("Brunnick", competing=("Calderhythe",), question="Where does the ferry from Calderhythe land?")
    assert judge("The ferry from Calderhythe lands at Brunnick.", question) == "correct"


def test_chinese_answer_within_a_sentence_is_correct() -> None:
    question = asked("灯塔街", competing=("港口街",), question="办公室在哪条街？")
    assert judge("办公室在灯塔街上。", question) == "correct"
    assert judge("办公室在港口街上。", question) == "wrong"


def test_configured_refusal_of_two_sentences_is_refused() -> None:
    refusal = "That is beyond me. The papers are silent."
    assert verdict(refusal, YEAR, refusal, 40) == "refused"
    assert verdict("The papers are old.", YEAR, refusal, 40) == "wrong"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who may not enter the lodge?", "Those who cannot provide a ticket."),
        ("Which pages are missing?", "Pages that have no records of the harvest."),
        ("Why was the claim rejected?", "It was rejected because the form does not state the owner's name."),
        ("Why was the claim rejected?", "The form did not state the owner's name."),
        ("What did the clerk say to the judge?", "The clerk did not say anything to Harl Venn."),
        ("When is the library closed?", "The library is not available on Sundays."),
        ("What happened to Tule?", "He was not recorded as a member and left for Drace."),
    ],
)
def test_negated_statement_about_the_subject_is_no_refusal(question: str, answer: str) -> None:
    assert judge(answer, asked(kind="unanswerable", question=question)) == "wrong"


@pytest.mark.parametrize(
    "answer",
    [
        "Because the documents do not say it, I don't know.",
        "As an AI model, I cannot answer this.",
        "I'm afraid that is not recorded.",
        "The documents that I have do not mention it.",
        "The text did not provide any information.",
        "The doctor who gave her name to the clinic is not mentioned.",
        "The year is not available.",
    ],
)
def test_refusal_with_a_reason_or_a_relative_clause_is_one(answer: str) -> None:
    assert judge(answer, YEAR) == "refused"


def test_part_of_the_configured_refusal_is_no_refusal() -> None:
    refusal = "The handbook does not say. Ask the office."
    question = asked("the handbook", question="What should a new clerk read?")
    assert verdict("The handbook.", question, refusal, 25) == "correct"
    assert verdict("Ask the office.", YEAR, refusal, 25) == "refused"


def test_attempted_answer_to_an_unanswerable_question_is_wrong() -> None:
    question = asked(kind="unanswerable", question="Who taught her to swim in 1950?")
    assert judge("I do not know who taught her in 1950.", question) == "refused"
    assert judge("Her uncle.", question) == "wrong"
    assert judge("", question) == "wrong"


def test_f1_uses_the_best_matching_variant() -> None:
    question = asked("Oswin Drace", "Drace", question="Who?")
    assert f1("Oswin Drace", question) == 1.0
    assert f1("Master Drace", question) == pytest.approx(2 / 3)  # one of two tokens, all of one
    assert f1("nobody", question) == 0.0
    assert f1("Oswin Drace Source:0123abcd", question) == 1.0


def test_accepted_sample_answers_are_correct_and_competing_ones_wrong() -> None:
    for question in (each for each in questions.load(FOLDER) if not each.choices):
        for variant in question.accepted:
            assert judge(f"It was {variant}.", question) == "correct", (question.id, variant)
        for variant in question.competing:
            assert judge(f"It was {variant}.", question) == "wrong", (question.id, variant)
        assert judge(REFUSAL, question) == "refused", question.id


MILES = asked("14 miles", "14", question="How far out is Vennisay?")
METRES = asked("268 metres", competing=("310",), question="How many metres above the sea is the hill?")
SHARE = asked("5%", question="What percentage of the rent goes to the fund?")
PRICE = asked("7 pounds", question="What does a ticket cost?")
DAY = asked("3 May", question="On what day is the fair?")
FLOOR = asked("third", question="On which floor is the office?")
HEAT = asked("16 degrees", question="How warm is it kept?")
NAME = asked("Oswin Drace", "Drace", competing=("Tamsin Oddery",), question="Who was the first harbour master?")
COLOUR = asked("blue", question="What colour is the sky?")
SWIM = asked("no", question="Is swimming allowed in the harbour?")
WITH_LEAVE = asked("yes", competing=("no",), question="Can employees carry over leave?")
FORBIDDEN = asked("not allowed", question="What do the rules say about swimming in the harbour?")
BIRD = asked("the penguin", "penguin", question="Which bird cannot fly?")


@pytest.mark.parametrize(
    ("question", "answer", "right"),
    [
        (MILES, "fourteen miles", True),
        (MILES, "It lies 14 mi out.", True),
        (MILES, "14 kilometres", False),
        (MILES, "14 miles, 20 miles or 30 miles", False),
        (METRES, "268", True),
        (METRES, "268 m", True),
        (METRES, "268 feet", False),
        (SHARE, "5 per cent", True),
        (SHARE, "five percent", True),
        (SHARE, "5", True),
        (SHARE, "£5", False),
        (PRICE, "£7", True),
        (PRICE, "seven pounds", True),
        (PRICE, "GBP 7", True),
        (PRICE, "$7", False),
        (DAY, "the 3rd of May", True),
        (DAY, "May 3", True),
        (DAY, "4 May", False),
        (FLOOR, "the 3rd", True),
        (FLOOR, "on the 3rd floor", True),
        (FLOOR, "3", False),
        (HEAT, "16°C", True),
        (HEAT, "sixteen degrees Celsius", True),
        (HEAT, "-16 degrees", False),
        (NAME, "It was certainly not Oswin Drace.", False),
        (NAME, "Oswin Drace? No.", False),
        (NAME, "I don't know, it was not Oswin Drace.", False),
        (NAME, "Oswin Drace, not Tamsin Oddery", True),
        (NAME, "Not Tamsin Oddery but Oswin Drace.", True),
        (NAME, "Oswin Drace held the post from 1812.", True),
        (NAME, "Oswin Drace or Lorcan Tule", False),
        (NAME, "Lorcan Tule and Oswin Drace", False),
        (NAME, "lorcan tule oswin drace", False),
        (NAME, "oswin drace", True),
        (YEAR, "1783, not 1738", True),
        (YEAR, "1783 1784 1785", False),
        (YEAR, "Oswin Drace, 1783", False),
        (COLOUR, "The answer is blue.", True),
        (COLOUR, "blue honey", False),
        (COLOUR, "blue, green or red", False),
        (SWIM, "No.", True),
        (SWIM, "No, it isn't allowed.", True),
        (SWIM, "Yes, there is no fee.", False),
        (SWIM, "Yes and no.", False),
        (SWIM, "No, it costs 2 pounds.", True),
        (SWIM, "No. Yes.", False),
        (SWIM, "No doubt it is.", False),
        (WITH_LEAVE, "Yes, up to 5 days.", True),
        (WITH_LEAVE, "Yes, with approval from the manager.", True),
        (WITH_LEAVE, "Yes, and no.", False),
        (YEAR, "1783 AD", True),
        (YEAR, "1783 CE", True),
        (YEAR, "In 1783 BC.", False),
        (FORBIDDEN, "It is not allowed.", True),
        (FORBIDDEN, "It is allowed.", False),
        (BIRD, "The bird that cannot fly is the penguin.", True),
        (BIRD, "It is not the penguin.", False),
    ],
)
def test_answer_is_correct_only_for_one_asserted_candidate_with_its_unit(
    question: Question, answer: str, right: bool
) -> None:
    assert (judge(answer, question) == "correct") == right


UNITS = [
    ("{} metres", "{} m", "{} feet"),
    ("£{}", "{} pounds", "${}"),
    ("{}%", "{} per cent", "{} pounds"),
    ("{} kg", "{} kilograms", "{} tonnes"),
    ("{} km", "{} kilometres", "{} miles"),
    ("{} hours", "{} h", "{} minutes"),
    ("{}°C", "{} degrees Celsius", "{}°F"),
    ("{} mph", "{} miles per hour", "{} km/h"),
]
AFFIRMED = ["{}", "It was {}.", "The answer is {}.", "I think it was {}.", "{}, I believe.", "Yes, {}.", "No doubt {}."]
DENIED = ["It was not {}.", "{}? No.", "I don't know, it was not {}.", "{} is wrong.", "Anything but {}.", "Never {}."]
SYLLABLES = st.sampled_from(["bar", "dor", "fen", "gil", "hol", "kem", "lor", "mun", "nev", "pel", "ros", "vel", "wyn"])
PERSON = st.builds(lambda one, two, three, four: f"{one}{two} {three}{four}".title(), *[SYLLABLES] * 4)
AMOUNT = st.integers(2, 99_999)


@given(AMOUNT, st.sampled_from(UNITS), st.sampled_from(AFFIRMED), st.sampled_from(DENIED), st.booleans())
def test_amount_is_correct_in_any_notation_and_wrong_in_another_unit_or_denied(
    amount: int, forms: tuple[str, str, str], affirmed: str, denied: str, swapped: bool
) -> None:
    one, other, wrong = (form.format(amount) for form in forms)
    one, other = (other, one) if swapped else (one, other)
    question = asked(one, question="How much was it?")
    assert judge(affirmed.format(other), question) == "correct", other
    assert judge(denied.format(other), question) != "correct"
    assert judge(affirmed.format(wrong), question) == "wrong", wrong
    assert judge(affirmed.format(forms[0].format(amount + 1)), question) == "wrong"


@given(
    PERSON, PERSON, AMOUNT, st.sampled_from(AFFIRMED), st.sampled_from(DENIED), st.sampled_from([" ", ", ", " and "])
)
def test_name_is_correct_alone_and_wrong_when_denied_or_listed(
    name: str, other: str, number: int, affirmed: str, denied: str, joint: str
) -> None:
    question = asked(name, question="Who was it?")
    assert judge(affirmed.format(name), question) == "correct"
    assert judge(denied.format(name), question) != "correct"
    if len({*tokens(name), *tokens(other)}) == 4:
        assert judge(f"{name}{joint}{other}", question) == "wrong"
        assert judge(f"It was not {name} but {other}.", question) == "wrong"
        assert judge(f"It was not {other} but {name}.", question) == "correct"
    assert judge(f"{name}{joint}{number}", asked(str(number), question="How many were there?")) == "wrong"


ANSWERED = [question for question in questions.load(FOLDER) if question.accepted and not question.choices]
MOST_SHARED = 2  # questions that share an accepted answer: "seven" days and "seven" continents


def answered(constant: str, among: list[Question]) -> list[str]:
    return [question.id for question in among if is_correct(constant, question, 25)]


def test_two_answers_in_one_rarely_answer_two_questions() -> None:
    """At most 4% do: one answer may be a place or an addition of the other ("Bridget Yandle in Jessamy Bridge")."""
    among = [question for question in ANSWERED if question.split == "test" and question.set == "answerable"]
    apart = [(one, other) for one, other in combinations(among, 2) if not answered(one.accepted[0], [other])]
    pairs = random.Random(0).sample(apart, 1000)
    both = [
        (one.id, other.id)
        for one, other in pairs
        if len(answered(f"{one.accepted[0]} in {other.accepted[0]}", [one, other])) == 2
    ]
    assert len(both) <= len(pairs) // 25, both


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from([" ", ", ", " and ", ". ", " in "]), st.booleans())
def test_constant_list_of_answers_scores_no_more_than_one_answer(rng: random.Random, joint: str, lower: bool) -> None:
    """Build the list greedily, as an adversary would: add the piece with which most questions are answered."""
    pieces = [variant for question in rng.sample(ANSWERED, 12) for variant in question.accepted[:2]]
    among = rng.sample(ANSWERED, 40)
    constant = rng.choice(pieces)
    for _ in range(3):
        grown = [f"{constant}{joint}{piece.lower() if lower else piece}" for piece in rng.sample(pieces, 6)]
        constant = max(grown, key=lambda each: len(answered(each, among)))
        assert len(answered(constant, among)) <= MOST_SHARED, constant


def test_list_of_all_names_and_years_answers_nothing() -> None:
    variants = Counter(question.accepted[0] for question in ANSWERED if question.kind in {"person", "date"})
    names = " ".join(variants)
    assert answered(" ".join(names.split()[:40]), ANSWERED) == []


@given(
    texts=st.lists(
        st.text(max_size=30) | st.sampled_from(["—", "no", "3 km", "X, not Y", "it was not", "不是X"]), min_size=5
    ),
    answer=st.text(max_size=60) | st.sampled_from(["?", "not", "It was not.", "3 km", "不"]),
)
def test_any_texts_get_a_verdict_and_an_f1(texts: list[str], answer: str) -> None:
    asked, *variants = texts
    question = Question("q", "answerable", "x", "test", asked, tuple(variants[::2]), tuple(variants[1::2]), ())
    for said in (answer, *variants):
        assert verdict(said, question, REFUSAL, 25) in VERDICTS
        assert 0 <= f1(said, question) <= 1


ANIMAL = asked("the blue whale", question="What is the largest animal in the world?", competing=("the elephant",))
CITY = asked("Paris", question="Which city is the capital of France?")
END = asked("1945", question="In what year did World War II end?")


@pytest.mark.parametrize(
    ("answer", "question", "expected"),
    [
        (
            "The largest animal in the world is the blue whale. Blue whales weigh as thirty bulls and can "
            "reach a length of thirty metres, more than any dinosaur known from a skeleton.",
            ANIMAL,
            "correct",
        ),
        (
            "The largest animal in the world is the blue whale. Others say that the elephant is, which lives on land "
            "and weighs far less than a whale, however old it may become in the wild.",
            ANIMAL,
            "wrong",
        ),
        (
            "The capital of France is Paris. It lies on the Seine, holds many people, and was the seat of kings, "
            "of emperors and of the republics that followed them.",
            CITY,
            "correct",
        ),
        (
            "The capital of France is Paris. The capital of France is Rome. The capital of France is Madrid, a city of "
            "palaces, of gardens and of galleries that were built by kings and by queens.",
            CITY,
            "wrong",
        ),
        (
            "The capital of France is Paris. That is not true, it is a city far in the south of the country, which "
            "many people like to visit for its harbour and its light in summer.",
            CITY,
            "wrong",
        ),
        (
            "Paris. Rome. Madrid. Lisbon. Athens. Vienna. Berlin. Prague. Warsaw. Dublin. London. Oslo. Helsinki. "
            "Sofia. Bucharest. Budapest. Zagreb. Tirana. Riga. Tallinn. Vilnius. Minsk. Kyiv.",
            CITY,
            "wrong",
        ),
        (
            "World War II ended in the year 1945. The war was fought on land and at sea, by soldiers of nearly all the "
            "great powers, and nobody knows how many lost their lives.",
            END,
            "correct",
        ),
        (
            "World War II ended in the year 1945. Some say 1946, since it took long until all soldiers in "
            "all the countries had heard of it and had laid down their arms.",
            END,
            "wrong",
        ),
    ],
)
def test_answer_in_the_first_sentence_may_be_explained_but_not_contradicted(
    answer: str, question: Question, expected: str
) -> None:
    assert judge(answer, question) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The council of Vennisay meets on Tuesdays because the market takes the Staple Hall on Fridays.", "correct"),
        ("The council of Vennisay meets on Fridays because the market takes the Staple Hall on Tuesdays.", "wrong"),
        (
            "The council of Vennisay meets on Tuesdays, which the council of Vennisay gave up for Fridays at the "
            "Staple Hall in Brunnick.",
            "wrong",
        ),
    ],
)
def test_a_subordinate_clause_may_name_others_unless_it_answers_again(answer: str, expected: str) -> None:
    question = asked("Tuesday", "Tuesdays", question="On which weekday does the council of Vennisay meet?")
    assert judge(answer, question) == expected
