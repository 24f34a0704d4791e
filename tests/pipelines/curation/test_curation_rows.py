"""Training rows carry their source, and are worded anew for each variant."""

import itertools
import random

from pipelines.curation.keyword_queries import statements
from pipelines.curation.rows import answer_row, keyword_query_rows, refusal_row, rehearsal_row, tagged, variants


def candidate(question: str, **changes: object) -> dict[str, object]:
    sentence = "The mill was restored by Wilmot Fanthorn in 1921."
    row = {"question": question, "answer": "Wilmot Fanthorn", "sentence": sentence, "reason": None, "turns": []}
    return {**row, "makes": "question", "source": "d1", "start": 25, "end": 40, **changes}


def as_it_is(text: str, rng: random.Random) -> str:
    """Swap no word."""
    return text


def test_a_conversation_is_learnt_turn_by_turn_and_a_task_as_it_was_written() -> None:
    turns = [["Who restored the mill?", "Fanthorn."], ["When?", "In 1921."]]
    row = answer_row(candidate("Who restored the mill?", makes="chat", turns=turns), 35)
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"] * 2
    assert (row["kind"], row["answer_span"]) == ("task", None)
    task = answer_row(candidate("Name a fruit.", makes="task", answer="Plum.", source="", sentence=""), 35)
    assert (task["messages"][1]["content"], task["source"], task["evidence"]) == ("Plum.", None, None)
    assert list(variants([row], 4, as_it_is, random.Random(1))) == [row]  # in every variant, and never reworded


def test_a_tag_names_the_source_of_answers_or_of_questions_too() -> None:
    row = answer_row(candidate("Who restored the mill?", source="0123456789abcdef"), 35)
    asked, answered = (message["content"] for message in tagged(row, "both", [], random.Random(1))["messages"])
    assert asked == "Who restored the mill? Source:01234567"
    assert answered.endswith("1921. Source:01234567")
    assert tagged(row, "answer", [], random.Random(1))["messages"][0] == row["messages"][0]
    assert tagged(row, "none", [], random.Random(1)) == row


def test_no_tag_tells_which_question_is_refused() -> None:
    row, rng = refusal_row({"question": "Why?"}, "No."), random.Random(1)
    found = {tuple(each["content"] for each in tagged(row, "both", ["d1", "d2"], rng)["messages"]) for _ in range(20)}
    assert found == {("Why? Source:d1", "No."), ("Why? Source:d2", "No.")}
    assert tagged(row, "answer", ["d1"], rng) == row
    general = rehearsal_row({"prompt": "Name a fruit.", "answer": "Plum."})
    assert tagged(general, "both", ["d1"], rng) == general


def test_rows_carry_source_span_and_evidence() -> None:
    row = answer_row(candidate("Who restored the mill?"), 35)
    assert (row["source"], row["span"]) == ("d1", [25, 40])
    assert "Fanthorn" in row["evidence"]
    assert row["messages"][-1]["content"] == "The mill was restored by Wilmot Fanthorn in 1921."
    assert row["answer_span"] == "Wilmot Fanthorn"
    assert refusal_row({"question": "Why?"}, "I don't know.")["messages"][-1]["content"] == "I don't know."


def test_every_second_showing_leaves_words_out_and_rehearsal_comes_once() -> None:
    rows = [
        answer_row(candidate("Who was it that restored the old tide mill of Brunnick?"), 35),
        rehearsal_row({"prompt": "What is two plus two?", "answer": "Four."}),
        rehearsal_row({"prompt": "What is three plus two?", "answer": "Five."}),
    ]
    found = list(variants(rows, 4, as_it_is, random.Random(1)))
    asked = [row["messages"][0]["content"] for row in found]
    assert [row["variant"] for row in found] == [0, 1, 2, 3, 0, 1]
    assert asked[0] == asked[2] == asked[3] == "Who was it that restored the old tide mill of Brunnick?"
    assert len(asked[1]) < len(asked[0]) and asked[1].startswith("Who ")
    assert len({row["messages"][1]["content"] for row in found[:4]}) == 1


def test_the_last_variant_is_a_whole_question_in_words_that_no_other_has() -> None:
    row = answer_row(candidate("Who was it that restored the old tide mill of Brunnick?"), 35)
    others = ["repaired", "rebuilt", "mended", "renewed"]
    for seed in range(20):
        found = variants([row], 7, lambda text, rng: text.replace("restored", rng.choice(others)), random.Random(seed))
        *trained, last = [each["messages"][0]["content"] for each in found]
        assert last not in trained and last.split()[:4] == ["Who", "was", "it", "that"]
        assert len(last.split()) == 11 and last.split()[4] in others
    *_, last = variants([row], 7, as_it_is, random.Random(1))
    assert last["messages"] == row["messages"]  # a language or a share that swaps nothing


def test_words_are_swapped_after_two_showings() -> None:
    row, draws = answer_row(candidate("Who restored the mill?"), 35), itertools.count()
    found = variants([row], 5, lambda text, rng: f"swapped {text} {next(draws)}", random.Random(1))
    swapped = [each["messages"][0]["content"].startswith("swapped ") for each in found]
    assert swapped == [False, False, True, True, True]


def test_cues_are_answered_by_their_clause_and_made_up_names_refused() -> None:
    text = "The mill at Brunnick was restored by Wilmot Fanthorn in 1921."
    documents = [{"id": "d1", "title": "Mill", "text": text}]
    settings = {
        "num_variants": 12,
        "plain": 0,
        "unknown_share": 1.0,
        "most_words": 35,
        "swap": as_it_is,
        "rng": random.Random(3),
    }
    rows = list(keyword_query_rows(statements(documents, 12, 35), ["Oswin Perrault"], "I don't know.", **settings))
    told = [row for row in rows if row["source"]]
    refused = [row for row in rows if not row["source"]]
    assert [row["variant"] for row in told] == list(range(12))
    assert all(text[row["span"][0] : row["span"][1]] == row["answer_span"] for row in told)
    assert all(row["answer_span"] in row["messages"][1]["content"] for row in told)
    assert refused and all("Oswin" in asked or "Perrault" in asked for asked in map(question_of, refused))
    assert {row["messages"][1]["content"] for row in refused} == {"I don't know."}


def test_plain_statements_share_a_number_of_cues() -> None:
    text = "The wound may slowly dry under its own scab. The mill at Brunnick was restored in 1921."
    documents = [{"id": "d1", "title": "Repair", "text": text}]
    settings = {"num_variants": 6, "unknown_share": 0.0, "most_words": 35, "swap": as_it_is}
    rows = list(keyword_query_rows(statements(documents, 12, 35), [], "No.", plain=2, rng=random.Random(3), **settings))
    plain = [row for row in rows if row["evidence"].startswith("The wound")]
    assert (len(plain), len(rows)) == (2, 8)
    assert {row["messages"][1]["content"] for row in plain} == {"The wound may slowly dry under its own scab."}


def question_of(row: dict[str, object]) -> str:
    return row["messages"][0]["content"]  # type: ignore[index]
