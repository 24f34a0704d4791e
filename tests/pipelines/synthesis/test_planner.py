"""Planning: every sentence is asked about before any second question, and failed spans are retried."""

from collections.abc import Iterable

from pipelines import config
from pipelines.llm.prompts import load
from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.config import SynthesizeConfig
from pipelines.synthesis.planner import Corpus, passages, plan, rounds
from pipelines.synthesis.spans import KINDS
from tests.conftest import ROOT, tiny_tokenizer
from tests.support.teachers import PROMPTS

TEXT = "The mill was restored by Wilmot Fanthorn in 1921. The bell came from Garrick Bay. It rings at seven o'clock."
DOCUMENTS = [{"id": "d1", "title": "THE OLD MILL", "text": TEXT, "language": "en"}]


def settings(most: int = 3, kinds: Iterable[str] = KINDS) -> SynthesizeConfig:
    changes = {"kinds": list(kinds), "spans_per_sentence": most, "max_span_words": 12}
    return config.load(ROOT / "params.yaml").synthesize.model_copy(update=changes)


def planned(most: int = 3) -> list[list[Candidate]]:
    found = passages(DOCUMENTS, tiny_tokenizer(), 200, 0)
    return plan(found, load(PROMPTS, "answer_first"), settings(most), 99)


def test_span_offsets_are_exact_and_windows_begin_with_the_title() -> None:
    spans = [each for sentence in planned() for each in sentence]
    assert all(TEXT[each.start : each.end] == each.answer for each in spans)
    assert all(each.window.startswith("The Old Mill\n") for each in spans)
    assert {(each.recipe, each.version, each.language) for each in spans} == {("answer_first", 1, "en")}


def test_candidates_have_the_language_of_their_document() -> None:
    document = {"id": "d2", "title": "磨坊", "text": "磨坊由范松于1921年修复。", "language": "zh"}
    (sentence,) = plan(passages([document], tiny_tokenizer(), 200, 0), load(PROMPTS, "answer_first"), settings(), 99)
    assert {each.language for each in sentence} == {"zh"}


def test_frequent_name_is_a_topic_by_its_share_of_a_large_corpus() -> None:
    mentions = ["Then came Wilmot Fanthorn."] * 20
    small, large = Corpus.of(mentions), Corpus.of([*mentions, *["The mill is old."] * 6000])
    sentence = "The mill was restored by Wilmot Fanthorn in 1921."
    assert [span for _, (span, _) in small.ranked(sentence, "", settings(kinds=["name"]))] == ["Wilmot Fanthorn"]
    (penalty,) = (each for each, _ in small.ranked(sentence, "", settings(kinds=["name"])))
    assert penalty == 1 and large.ranked(sentence, "", settings(kinds=["name"]))[0][0] == 0


def run(keep: set[str], budget: int, attempts: int = 1) -> list[tuple[str, int]]:
    """Return (answer span, attempt) of every question asked, if only questions about `keep` are valid."""
    asked: list[tuple[str, int]] = []

    def ask(due: list[Candidate], attempt: int) -> list[Candidate]:
        asked.extend((each.answer, attempt) for each in due)
        return [each if each.answer in keep else each.rejected("reader_disagrees") for each in due]

    assert len(list(rounds(planned(), budget, attempts, ask))) == len(asked) <= budget
    return asked


def test_first_round_covers_every_sentence_within_the_budget() -> None:
    spans = [[each.answer for each in sentence] for sentence in planned()]
    assert [answer for answer, _ in run(set(), 3)] == [sentence[0] for sentence in spans]
    assert len(run(set(), 2)) == 2
    assert len(run(set(), 100)) == sum(map(len, spans))


def test_second_round_asks_only_about_uncovered_sentences() -> None:
    first, *others = ([each.answer for each in sentence] for sentence in planned())
    asked = [answer for answer, _ in run({first[0]}, 5)]
    seconds = [sentence[1] for sentence in others if len(sentence) > 1]
    assert asked[3 : 3 + len(seconds)] == seconds
    assert first[1] not in asked[: 3 + len(seconds)]


def test_uncovered_sentences_are_retried_and_the_rest_of_the_budget_goes_to_covered_ones() -> None:
    first, *others = ([each.answer for each in sentence] for sentence in planned())
    asked = run({first[0]}, 100, attempts=2)
    assert {answer for answer, attempt in asked if attempt} == {answer for each in others for answer in each}
    assert asked[-1] == (first[-1], 0)


def test_headings_and_words_that_also_occur_in_lower_case_are_no_names() -> None:
    text = "The Mill\nBread came from Orr. We eat bread."
    found = plan(
        passages([{**DOCUMENTS[0], "text": text}], tiny_tokenizer(), 200, 0),
        load(PROMPTS, "answer_first"),
        settings(),
        99,
    )
    answers = {each.answer for sentence in found for each in sentence}
    assert "Orr" in answers and "Bread" not in answers and "Mill" not in answers


def test_small_budget_is_spread_evenly_over_the_document() -> None:
    names = [
        f"{first}{last}" for first in ("Bram", "Cori", "Dell", "Fenn") for last in ("ock", "ater", "isk", "old", "une")
    ]
    text = " ".join(f"The tower was built by {name} of the hill." for name in names)
    document = {**DOCUMENTS[0], "text": text}
    found = passages([document], tiny_tokenizer(), 200, 0)
    asked = plan(found, load(PROMPTS, "answer_first"), settings(1, ["name"]), 5)
    assert [names.index(candidate.answer) // 4 for (candidate,) in asked] == [0, 1, 2, 3, 4]
