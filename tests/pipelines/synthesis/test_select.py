"""Choosing rows: every reject has its reason, nothing of the evaluation leaks, and kept rows carry their source."""

from pipelines.synthesis.select import answer_row, apart, choose, hold_back, refusal_row


def candidate(question: str, **changes: object) -> dict[str, object]:
    sentence = "The mill was restored by Wilmot Fanthorn in 1921."
    row = {"question": question, "answer": "Wilmot Fanthorn", "sentence": sentence, "round_trip": True}
    return {**row, "source": "d1", "start": 25, "end": 40, **changes}


def test_every_candidate_is_kept_or_rejected_with_a_reason() -> None:
    rows = [
        candidate("Who restored the mill?"),
        candidate("Who restored the mill?"),
        candidate("Whose money mended the ruin?", round_trip=False),
        candidate("Who put the old tide mill back in order?"),
        candidate("By whom was the building saved from ruin at last?"),
    ]
    kept, rejected = choose(rows, ["Who put the old tide mill in order?"], 12, 0.7, 0.8)
    assert [row["question"] for row in kept] == [rows[0]["question"], rows[4]["question"]]
    assert [row["reason"] for row in rejected] == ["not_novel", "reader_disagrees", "leak"]


def test_unanswered_questions_keep_away_from_answered_ones() -> None:
    rows = [{"question": "Who restored the mill?"}, {"question": "Who taught the heron to swim?"}]
    kept, rejected = apart(rows, ["Who restored the mill?"], 0.8)
    assert kept == rows[1:]
    assert rejected[0]["reason"] == "too_close"


def test_rows_carry_source_span_and_evidence() -> None:
    row = answer_row(candidate("Who restored the mill?"))
    assert (row["source"], row["span"]) == ("d1", [25, 40])
    assert "Fanthorn" in row["evidence"]
    assert row["messages"][-1] == {"role": "assistant", "content": "Wilmot Fanthorn"}
    assert refusal_row({"question": "Why?"}, "I don't know.")["messages"][-1]["content"] == "I don't know."


def test_held_back_rows_are_a_seeded_choice() -> None:
    rows = [{"n": number} for number in range(10)]
    train, held = hold_back(rows, 0.3, seed=1)
    assert len(held) == 3
    assert sorted(row["n"] for row in train + held) == list(range(10))
    assert hold_back(rows, 0.3, seed=1) == (train, held)
    assert hold_back(rows, 0.3, seed=2) != (train, held)
