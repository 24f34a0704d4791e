"""Planning: every sentence is asked about before any is asked twice, and what failed is asked again in another way."""

from pipelines.llm.prompts import load
from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.planner import passages, plan, rounds
from pipelines.synthesis.spans import KINDS
from tests.conftest import tiny_tokenizer
from tests.support.teachers import PROMPTS

TEXT = "The mill was restored by Wilmot Fanthorn in 1921. The bell came from Garrick Bay. It rings at seven o'clock."
DOCUMENTS = [{"id": "d1", "title": "THE OLD MILL", "text": TEXT, "language": "en"}]


def planned(most: int = 3) -> list[list[Candidate]]:
    found = passages(DOCUMENTS, tiny_tokenizer(), 200, 0)
    return plan(found, load(PROMPTS, "answer_first"), list(KINDS), most, 12, 99)


def test_spans_stand_where_they_say_and_the_title_heads_the_window() -> None:
    spans = [each for sentence in planned() for each in sentence]
    assert all(TEXT[each.start : each.end] == each.answer for each in spans)
    assert all(each.window.startswith("The Old Mill\n") for each in spans)
    assert {(each.recipe, each.version, each.language) for each in spans} == {("answer_first", 1, "en")}


def test_documents_are_asked_about_in_their_language() -> None:
    document = {"id": "d2", "title": "磨坊", "text": "磨坊由范松于1921年修复。", "language": "zh"}
    (sentence,) = plan(
        passages([document], tiny_tokenizer(), 200, 0), load(PROMPTS, "answer_first"), list(KINDS), 3, 12, 99
    )
    assert {each.language for each in sentence} == {"zh"}


def run(keep: set[str], budget: int, attempts: int = 1) -> list[tuple[str, int]]:
    """What is asked, and at which attempt, when only questions for `keep` are good."""
    asked: list[tuple[str, int]] = []

    def ask(due: list[Candidate], attempt: int) -> list[Candidate]:
        asked.extend((each.answer, attempt) for each in due)
        return [each if each.answer in keep else each.rejected("reader_disagrees") for each in due]

    assert len(list(rounds(planned(), budget, attempts, ask))) == len(asked) <= budget
    return asked


def test_the_first_round_reaches_every_sentence_and_the_budget_is_kept() -> None:
    everything = [[each.answer for each in sentence] for sentence in planned()]
    assert [answer for answer, _ in run(set(), 3)] == [sentence[0] for sentence in everything]
    assert len(run(set(), 2)) == 2
    assert len(run(set(), 100)) == sum(map(len, everything))


def test_only_sentences_without_a_question_are_asked_again_until_all_have_one() -> None:
    first, *others = ([each.answer for each in sentence] for sentence in planned())
    asked = [answer for answer, _ in run({first[0]}, 5)]
    seconds = [sentence[1] for sentence in others if len(sentence) > 1]
    assert asked[3 : 3 + len(seconds)] == seconds
    assert first[1] not in asked[: 3 + len(seconds)]


def test_second_attempts_are_marked_and_what_is_left_goes_to_covered_sentences() -> None:
    first, *others = ([each.answer for each in sentence] for sentence in planned())
    asked = run({first[0]}, 100, attempts=2)
    assert {answer for answer, attempt in asked if attempt} == {answer for each in others for answer in each}
    assert asked[-1] == (first[-1], 0)


def test_a_heading_and_a_word_that_is_also_written_small_are_not_asked_for() -> None:
    text = "The Mill\nBread came from Orr. We eat bread."
    found = plan(
        passages([{**DOCUMENTS[0], "text": text}], tiny_tokenizer(), 200, 0),
        load(PROMPTS, "answer_first"),
        list(KINDS),
        3,
        12,
        99,
    )
    answers = {each.answer for sentence in found for each in sentence}
    assert "Orr" in answers and "Bread" not in answers and "Mill" not in answers


def test_a_budget_smaller_than_a_book_is_spread_over_it() -> None:
    names = [
        f"{first}{last}" for first in ("Bram", "Cori", "Dell", "Fenn") for last in ("ock", "ater", "isk", "old", "une")
    ]
    text = " ".join(f"The tower was built by {name} of the hill." for name in names)
    document = {**DOCUMENTS[0], "text": text}
    found = passages([document], tiny_tokenizer(), 200, 0)
    asked = plan(found, load(PROMPTS, "answer_first"), ["name"], 1, 12, 5)
    assert [names.index(candidate.answer) // 4 for (candidate,) in asked] == [0, 1, 2, 3, 4]
