"""Selection of rows: every rejection has its reason, and no evaluation question leaks."""

from pipelines.curation.rows import refusal_row
from pipelines.curation.select import choose, distinct_questions, hold_back, without_leaks
from tests.support.rows import candidate, training_row


def test_candidates_are_kept_or_rejected_with_a_reason() -> None:
    rows = [
        candidate("Who restored the mill?"),
        candidate("Who restored the mill?"),
        candidate("Who restored the wall?", answer="Emeric Vosper"),
        candidate("Whose money mended the ruin?", reason="reader_disagrees"),
        candidate("Who put the old tide mill back in order?"),
        candidate("By whom was the building saved from ruin at last?"),
        candidate("Whose doing was the restoration?"),
        candidate("Who restored the old mill?", makes="wording"),
        candidate(
            "Talk with me.", makes="chat", turns=[["Talk with me.", "Yes."], ["Who put the tide mill in order?", "I."]]
        ),
    ]
    means_same = iter([False, False, False, True, True])
    kept, rejected = choose(rows, ["Who put the old tide mill in order?"], lambda _: means_same, 0.7, 0.8)
    assert kept == [rows[0], rows[2], rows[5], rows[7]]
    assert [(each.question, each.reason) for each in rejected] == [
        (rows[1].question, "not_novel"),
        (rows[3].question, "reader_disagrees"),
        (rows[4].question, "leak"),
        (rows[8].question, "leak"),
        (rows[6].question, "same_meaning"),
    ]


def test_unanswerable_question_close_to_an_answered_one_is_rejected() -> None:
    rows = [{"question": "Who restored the mill?"}, {"question": "Who taught the heron to swim?"}]
    kept, rejected = distinct_questions(rows, ["Who restored the mill?"], 0.8)
    assert kept == rows[1:]
    assert rejected[0].reason == "too_close"


def test_row_similar_to_an_evaluation_question_is_a_leak() -> None:
    rows = [refusal_row(text, "I don't know.") for text in ("mill restored by whom", "heron swims")]
    kept, rejected = without_leaks(rows, ["The mill restored by whom?"], 0.8)
    assert kept == rows[1:]
    assert rejected[0].reason == "leak"


def test_validation_split_is_a_seeded_sample() -> None:
    rows = [training_row(str(number)) for number in range(10)]
    train, held = hold_back(rows, 0.3, seed=1)
    assert len(held) == 3
    assert sorted(row.question for row in train + held) == [str(number) for number in range(10)]
    assert hold_back(rows, 0.3, seed=1) == (train, held)
    assert hold_back(rows, 0.3, seed=2) != (train, held)
