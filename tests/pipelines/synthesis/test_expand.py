"""Prompt templates on windows, kept questions and seed tasks: parsing, evidence, sampling, self-instruct."""

import json
from itertools import count

from pipelines import config
from pipelines.llm.prompts import load
from pipelines.synthesis import expand
from pipelines.synthesis.candidate import Candidate, locate
from pipelines.synthesis.planner import Passage, passages
from tests.conftest import ROOT, tiny_tokenizer
from tests.support.teachers import PROMPTS, Script

ONE = "The mill was restored by Wilmot Fanthorn in 1921."
TWO = "Fanthorn was born at Garrick Bay."


def windowed() -> list[Passage]:
    texts = [("d1", f"{ONE}\n{TWO}"), ("d2", "The heron nests in May.")]
    documents = [{"id": name, "title": "Mill", "text": text, "language": "en"} for name, text in texts]
    return passages(documents, tiny_tokenizer(), 1, 0)


def script(**fields: object) -> Script:
    return Script(lambda _: json.dumps(fields))


def kept_question() -> Candidate:
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


def test_two_windows_joins_neighbours_of_one_document() -> None:
    writer = script(question="Where was the mill's restorer born?", answer="Garrick Bay", evidence=[ONE, TWO])
    (candidate,) = expand.windows(writer, load(PROMPTS, "two_windows"), windowed(), 1.0, seed=0)
    assert (candidate.reason, candidate.sentence, candidate.source) == (None, f"{ONE} {TWO}", "d1")
    assert ONE in candidate.window and TWO in candidate.window
    assert len(writer.calls) == 1  # the third window is of another document


def test_evidence_must_be_in_the_window_up_to_punctuation() -> None:
    recipe = load(PROMPTS, "evolve")
    quoted = script(
        question="Whose work of 1921?", answer="Wilmot Fanthorn", evidence="the mill was restored, by Wilmot"
    )
    invented = script(question="Whose work of 1921?", answer="Orr", evidence="The mill was restored by Orr.")
    lower = "mill was restored by Wilmot Fanthorn"
    assert expand.questions(invented, recipe, [kept_question()], 1.0, 0)[0].reason == "evidence_missing"
    assert expand.questions(quoted, recipe, [kept_question()], 1.0, 0)[0].reason == "evidence_missing"
    good = script(question="Whose work of 1921?", answer="Wilmot Fanthorn", evidence=f'"{lower}…"')
    (candidate,) = expand.questions(good, recipe, [kept_question()], 1.0, 0)
    assert (candidate.reason, candidate.sentence, candidate.recipe) == (None, lower, "evolve")


def test_locate_ignores_white_space_and_punctuation_and_matches_whole_words() -> None:
    assert locate("restored by\nWilmot  Fanthorn.", ONE) == (13, 40)
    assert locate("restore", ONE) is None
    assert locate("…", ONE) is None


def test_each_distinct_paraphrase_is_a_candidate_with_the_same_answer() -> None:
    writer = script(questions=["Who mended the mill?", "Who mended the mill?", "Whose work was it?"])
    candidates = expand.questions(writer, load(PROMPTS, "paraphrase"), [kept_question()], 1.0, seed=0)
    assert [each.question for each in candidates] == ["Who mended the mill?", "Whose work was it?"]
    assert {(each.answer, each.makes, each.read) for each in candidates} == {("Wilmot Fanthorn", "wording", None)}


def test_quote_then_answer_needs_no_call_and_quotes_the_sentence_first() -> None:
    writer = Script(lambda _: None)
    (candidate,) = expand.questions(writer, load(PROMPTS, "quote_then_answer"), [kept_question()], 1.0, seed=0)
    assert candidate.question.endswith("Who restored the mill?")
    assert candidate.answer == f"{ONE}\nSo the answer is: Wilmot Fanthorn"
    assert not writer.calls


def test_multi_turn_gives_turns_and_back_translation_answers_with_the_passage() -> None:
    turns = [
        {"question": "Who restored the mill?", "answer": "Wilmot Fanthorn."},
        {"question": "When?", "answer": "1921."},
    ]
    chat, *_ = expand.windows(script(turns=turns), load(PROMPTS, "multi_turn"), windowed(), 1.0, seed=0)
    assert chat.turns == (("Who restored the mill?", "Wilmot Fanthorn."), ("When?", "1921."))
    task, *_ = expand.windows(
        script(question="Tell of the mill."), load(PROMPTS, "back_translation"), windowed(), 1.0, 0
    )
    assert (task.answer, task.makes) == (ONE, "instruction")


def test_share_is_a_seeded_sample_and_failed_calls_keep_their_reason() -> None:
    recipe, failing = load(PROMPTS, "summary"), Script(lambda _: None)
    candidates = expand.windows(failing, recipe, windowed(), 0.67, seed=3)
    assert [each.reason for each in candidates] == ["timeout", "timeout"]
    assert candidates == expand.windows(failing, recipe, windowed(), 0.67, seed=3)


def test_self_instruct_extends_the_pool_by_novel_tasks() -> None:
    numbers = count()
    generated = ["Name a fruit.", "Name a fruit!", "Count the legs of six spiders."]
    writer = Script(lambda _: json.dumps({"question": generated[next(numbers) % 3], "answer": "Plum."}))
    seeds = [{"question": f"Task number {word}?", "answer": "Done."} for word in ("one", "seven", "nine")]
    changes = {"recipes": {"self_instruct": 23.0}, "temperature": 0.8, "max_similarity": 0.7}
    settings = config.load(ROOT / "params.yaml").synthesize.model_copy(update=changes)
    candidates = expand.tasks(writer, load(PROMPTS, "self_instruct"), seeds, settings, seed=1)
    assert len(candidates) == 69
    assert sum(each.reason is None for each in candidates) == 2
    assert {each.reason for each in candidates} == {None, "not_novel"}
    assert "Task: Name a fruit." in writer.calls[-1].messages[-1]["content"]  # the pool is extended
    assert len({call.sample for call in writer.calls}) == 69
