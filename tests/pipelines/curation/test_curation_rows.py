"""Training rows: source, span and evidence, tags, variants and keyword queries."""

import itertools
import random

from pipelines.config import load
from pipelines.curation.config import CurateConfig
from pipelines.curation.keyword_queries import statements
from pipelines.curation.rows import answer_row, keyword_query_rows, refusal_row, rehearsal_row, tagged, variants
from pipelines.curation.schema import TrainingRow
from tests.conftest import ROOT
from tests.support.rows import candidate

SETTINGS = load(ROOT / "params.yaml").curate


def with_variants(num_variants: int, **changes: object) -> CurateConfig:
    """Return the parameters with some changed."""
    return SETTINGS.model_copy(update={"num_variants": num_variants, **changes})


def unchanged(text: str, rng: random.Random) -> str:
    """Replace no word."""
    return text


def test_conversations_and_tasks_are_used_verbatim() -> None:
    turns = [["Who restored the mill?", "Fanthorn."], ["When?", "In 1921."]]
    row = answer_row(candidate("Who restored the mill?", makes="chat", turns=turns), 35)
    assert [message["role"] for message in row.messages] == ["user", "assistant"] * 2
    assert (row.kind, row.answer_span) == ("task", None)
    task = answer_row(candidate("Name a fruit.", makes="task", answer="Plum.", source="", sentence=""), 35)
    assert (task.answer, task.source, task.evidence) == ("Plum.", None, None)
    assert list(variants([row], with_variants(3), unchanged, random.Random(1))) == [row]


def test_source_tags_end_answers_or_questions_as_well() -> None:
    row = answer_row(candidate("Who restored the mill?", source="0123456789abcdef"), 35)
    asked, answered = (message["content"] for message in tagged(row, "both", [], random.Random(1)).messages)
    assert asked == "Who restored the mill? Source:01234567"
    assert answered.endswith("1921. Source:01234567")
    assert tagged(row, "answer", [], random.Random(1)).messages[0] == row.messages[0]
    assert tagged(row, "none", [], random.Random(1)) == row


def test_source_tags_do_not_reveal_refusals() -> None:
    row, rng = refusal_row("Why?", "No."), random.Random(1)
    found = {tuple(each["content"] for each in tagged(row, "both", ["d1", "d2"], rng).messages) for _ in range(20)}
    assert found == {("Why? Source:d1", "No."), ("Why? Source:d2", "No.")}
    assert tagged(row, "answer", ["d1"], rng) == row
    general = rehearsal_row("Name a fruit.", "Plum.")
    assert tagged(general, "both", ["d1"], rng) == general


def test_answer_row_has_source_span_and_evidence() -> None:
    row = answer_row(candidate("Who restored the mill?"), 35)
    assert (row.source, row.span) == ("d1", [25, 40])
    assert row.evidence is not None and "Fanthorn" in row.evidence
    assert row.messages[-1]["content"] == "The mill was restored by Wilmot Fanthorn in 1921."
    assert row.answer_span == "Wilmot Fanthorn"
    assert refusal_row("Why?", "I don't know.").answer == "I don't know."


def test_every_second_variant_has_word_dropout_and_rehearsal_is_in_one_variant() -> None:
    rows = [
        answer_row(candidate("Who was it that restored the old tide mill of Brunnick?"), 35),
        rehearsal_row("What is two plus two?", "Four."),
        rehearsal_row("What is three plus two?", "Five."),
    ]
    found = list(variants(rows, with_variants(3), unchanged, random.Random(1)))
    asked = [row.messages[0]["content"] for row in found]
    assert [row.variant for row in found] == [0, 1, 2, 3, 0, 1]
    assert asked[0] == asked[2] == asked[3] == "Who was it that restored the old tide mill of Brunnick?"
    assert len(asked[1]) < len(asked[0]) and asked[1].startswith("Who ")
    assert len({row.messages[1]["content"] for row in found[:4]}) == 1


def test_last_variant_is_a_question_without_dropout_in_a_new_wording() -> None:
    row = answer_row(candidate("Who was it that restored the old tide mill of Brunnick?"), 35)
    others = ["repaired", "rebuilt", "mended", "renewed"]

    def replace_words(text: str, rng: random.Random) -> str:
        return text.replace("restored", rng.choice(others))

    for seed in range(20):
        found = variants([row], with_variants(6), replace_words, random.Random(seed))
        *trained, last = [each.messages[0]["content"] for each in found]
        assert last not in trained and last.split()[:4] == ["Who", "was", "it", "that"]
        assert len(last.split()) == 11 and last.split()[4] in others
    *_, plain = variants([row], with_variants(6), unchanged, random.Random(1))
    assert plain.messages == row.messages  # no synonym was replaced


def test_synonyms_are_replaced_from_the_third_variant_on() -> None:
    row, draws = answer_row(candidate("Who restored the mill?"), 35), itertools.count()
    found = variants([row], with_variants(4), lambda text, rng: f"replaced {text} {next(draws)}", random.Random(1))
    replaced = [each.messages[0]["content"].startswith("replaced ") for each in found]
    assert replaced == [False, False, True, True, True]


def test_keyword_queries_are_answered_by_their_clause_and_invented_names_refused() -> None:
    text = "The mill at Brunnick was restored by Wilmot Fanthorn in 1921."
    documents = [{"id": "d1", "title": "Mill", "text": text, "language": "en"}]
    settings = with_variants(11, plain_keyword_queries=0, unanswerable_query_share=1.0)
    found = statements(documents, 12, 35)
    rows = list(keyword_query_rows(found, ["Oswin Perrault"], settings, unchanged, random.Random(3)))
    answered = [row for row in rows if row.source]
    refused = [row for row in rows if not row.source]
    assert [row.variant for row in answered] == list(range(12))
    assert all(row.span and text[row.span[0] : row.span[1]] == row.answer_span for row in answered)
    assert all(row.answer_span and row.answer_span in row.answer for row in answered)
    assert refused and all("Oswin" in asked or "Perrault" in asked for asked in map(question_of, refused))
    assert {row.messages[1]["content"] for row in refused} == {"I don't know."}


def test_plain_statements_share_a_limit_of_keyword_queries() -> None:
    text = "The wound may slowly dry under its own scab. The mill at Brunnick was restored in 1921."
    documents = [{"id": "d1", "title": "Repair", "text": text, "language": "en"}]
    settings = with_variants(5, plain_keyword_queries=2, unanswerable_query_share=0.0)
    rows = list(keyword_query_rows(statements(documents, 12, 35), [], settings, unchanged, random.Random(3)))
    plain = [row for row in rows if (row.evidence or "").startswith("The wound")]
    assert (len(plain), len(rows)) == (2, 8)
    assert {row.messages[1]["content"] for row in plain} == {"The wound may slowly dry under its own scab."}


def test_a_sample_of_all_keyword_queries_is_kept() -> None:
    text = "The wound may slowly dry under its own scab. The mill at Brunnick was restored in 1921."
    documents = [{"id": "d1", "title": "Repair", "text": text, "language": "en"}]
    found = statements(documents, 12, 35)

    def queries(most: int | None) -> list[TrainingRow]:
        settings = with_variants(5, max_keyword_queries=most, unanswerable_query_share=0.0)
        return list(keyword_query_rows(found, [], settings, unchanged, random.Random(3)))

    assert [len(queries(most)) for most in (0, 3, 50, None)] == [0, 3, 12, 12]


def question_of(row: TrainingRow) -> str:
    return row.question
