"""Recipes beyond spans: what they make of windows, of kept questions and of seed tasks; evidence stands in the text."""

import json
from itertools import count

from pipelines.llm.prompts import load
from pipelines.synthesis import expand
from pipelines.synthesis.candidate import Candidate, place
from pipelines.synthesis.planner import Passage, passages
from tests.conftest import tiny_tokenizer
from tests.support.teachers import PROMPTS, Script

ONE = "The mill was restored by Wilmot Fanthorn in 1921."
TWO = "Fanthorn was born at Garrick Bay."


def found() -> list[Passage]:
    texts = [("d1", f"{ONE}\n{TWO}"), ("d2", "The heron nests in May.")]
    documents = [{"id": name, "title": "Mill", "text": text, "language": "en"} for name, text in texts]
    return passages(documents, tiny_tokenizer(), 1, 0)


def script(**fields: object) -> Script:
    return Script(lambda _: json.dumps(fields))


def kept() -> Candidate:
    return Candidate(
        recipe="answer_first",
        version=1,
        makes="question",
        language="en",
        source="d1",
        start=ONE.index("Wilmot"),
        end=ONE.index(" in 1921"),
        kind="name",
        window=f"Mill\n{ONE}",
        sentence=ONE,
        answer="Wilmot Fanthorn",
        question="Who restored the mill?",
    )


def test_neighbouring_windows_of_one_document_are_put_together() -> None:
    writer = script(question="Where was the mill's restorer born?", answer="Garrick Bay", evidence=[ONE, TWO])
    (made,) = expand.windows(writer, load(PROMPTS, "two_windows"), found(), 1.0, seed=0)
    assert (made.reason, made.sentence, made.source) == (None, f"{ONE} {TWO}", "d1")
    assert ONE in made.window and TWO in made.window
    assert len(writer.calls) == 1  # the third window is another document's


def test_evidence_must_stand_in_the_window_though_its_marks_may_differ() -> None:
    recipe = load(PROMPTS, "evolve")
    quoted = script(
        question="Whose work of 1921?", answer="Wilmot Fanthorn", evidence="the mill was restored, by Wilmot"
    )
    invented = script(question="Whose work of 1921?", answer="Orr", evidence="The mill was restored by Orr.")
    lower = "mill was restored by Wilmot Fanthorn"
    assert expand.questions(invented, recipe, [kept()], 1.0, 0)[0].reason == "evidence_missing"
    assert expand.questions(quoted, recipe, [kept()], 1.0, 0)[0].reason == "evidence_missing"
    good = script(question="Whose work of 1921?", answer="Wilmot Fanthorn", evidence=f'"{lower}…"')
    (made,) = expand.questions(good, recipe, [kept()], 1.0, 0)
    assert (made.reason, made.sentence, made.recipe) == (None, lower, "evolve")


def test_place_looks_past_white_space_and_punctuation_and_not_into_words() -> None:
    assert place("restored by\nWilmot  Fanthorn.", ONE) == (13, 40)
    assert place("restore", ONE) is None
    assert place("…", ONE) is None


def test_every_new_wording_is_a_candidate_with_the_old_answer() -> None:
    writer = script(questions=["Who mended the mill?", "Who mended the mill?", "Whose work was it?"])
    made = expand.questions(writer, load(PROMPTS, "paraphrase"), [kept()], 1.0, seed=0)
    assert [each.question for each in made] == ["Who mended the mill?", "Whose work was it?"]
    assert {(each.answer, each.makes, each.read) for each in made} == {("Wilmot Fanthorn", "wording", None)}


def test_a_recital_asks_nobody_and_says_the_sentence_first() -> None:
    writer = Script(lambda _: None)
    (made,) = expand.questions(writer, load(PROMPTS, "quote_then_answer"), [kept()], 1.0, seed=0)
    assert made.question.endswith("Who restored the mill?")
    assert made.answer == f"{ONE}\nSo the answer is: Wilmot Fanthorn"
    assert not writer.calls


def test_a_conversation_and_a_passage_as_answer() -> None:
    turns = [
        {"question": "Who restored the mill?", "answer": "Wilmot Fanthorn."},
        {"question": "When?", "answer": "1921."},
    ]
    chat, *_ = expand.windows(script(turns=turns), load(PROMPTS, "multi_turn"), found(), 1.0, seed=0)
    assert chat.turns == (("Who restored the mill?", "Wilmot Fanthorn."), ("When?", "1921."))
    told, *_ = expand.windows(script(question="Tell of the mill."), load(PROMPTS, "back_translation"), found(), 1.0, 0)
    assert (told.answer, told.makes) == (ONE, "instruction")


def test_a_share_is_a_seeded_choice_and_failures_are_kept_with_their_reason() -> None:
    recipe, nobody = load(PROMPTS, "summary"), Script(lambda _: None)
    made = expand.windows(nobody, recipe, found(), 0.67, seed=3)
    assert [each.reason for each in made] == ["timeout", "timeout"]
    assert made == expand.windows(nobody, recipe, found(), 0.67, seed=3)


def test_the_pool_of_tasks_grows_by_what_is_new() -> None:
    numbers = count()
    said = ["Name a fruit.", "Name a fruit!", "Count the legs of six spiders."]
    writer = Script(lambda _: json.dumps({"question": said[next(numbers) % 3], "answer": "Plum."}))
    seeds = [{"question": f"Task number {word}?", "answer": "Done."} for word in ("one", "seven", "nine")]
    made = expand.tasks(writer, load(PROMPTS, "self_instruct"), seeds, 23, 0.8, 0.7, seed=1)
    assert len(made) == 69
    assert sum(each.reason is None for each in made) == 2
    assert {each.reason for each in made} == {None, "not_novel"}
    assert "Task: Name a fruit." in writer.calls[-1].messages[-1]["content"]  # the second round sees the grown pool
    assert len({call.sample for call in writer.calls}) == 69
