"""Questions without an answer where nobody writes questions, or nobody reads them."""

from pipelines.synthesis.unknown import unknown

OWN = [f"When did Oswin Drace open gate {number}?" for number in range(30)]
FAR = ["Where was Ada Brill born?", "Who taught Tom Pell to sing?"]


def test_own_questions_become_unanswerable_by_names_that_no_document_has() -> None:
    rows, dropped = unknown(None, OWN, [], [], FAR, FAR, 10, 1)
    assert len(rows) == 20 and dropped == 0
    assert {row["kind"] for row in rows} == {"stranger"} and {row["from"] for row in rows} <= set(OWN)
    assert all("Ada Brill" in row["question"] or "Tom Pell" in row["question"] for row in rows)


def test_a_question_without_a_name_makes_none() -> None:
    assert unknown(None, ["What opens at noon?"], [], [], FAR, FAR, 10, 1) == ([], 0)
