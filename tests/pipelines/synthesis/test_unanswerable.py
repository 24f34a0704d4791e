"""Unanswerable questions: by rule without a teacher, by swapped names, against the window most likely to answer."""

import random

from pipelines.synthesis import unanswerable
from pipelines.synthesis.unanswerable import Retriever, swap_entity, swap_made_up_entity
from pipelines.text.names import count_names

OWN = [f"When did Oswin Drace open gate {number}?" for number in range(30)]
FAR = ["Where was Ada Brill born?", "Who taught Tom Pell to sing?"]


def test_names_are_capitalised_words_inside_a_sentence() -> None:
    found = count_names(["The keeper of Yarrel Point met Hester Wyvill. They left Yarrel Point."])
    assert found == {"Yarrel Point": 2, "Hester Wyvill": 1}
    assert "Hester Wyvill" in count_names(["Then came Hester Wyvill."])
    assert "Then" not in count_names(["Then came Hester Wyvill."])


def test_swap_replaces_the_longest_name_by_one_as_long() -> None:
    rng = random.Random(0)
    assert (
        swap_entity("Who painted Yarrel Point for Orr?", ["Dunmore Bay", "Ely"], rng)
        == "Who painted Dunmore Bay for Orr?"
    )
    assert swap_entity("who is it?", ["Dunmore Bay"], rng) is None
    assert swap_entity("Who painted Yarrel Point?", ["Ely"], rng) is None


def test_a_made_up_name_is_put_together_from_strangers() -> None:
    rng = random.Random(0)
    found = swap_made_up_entity("Who restored Yarrel Light?", ["Dunmore Bay", "Ely"], rng)
    assert found is not None and found.startswith("Who restored ") and "Yarrel" not in found
    assert set(found[13:-1].split()) <= {"Dunmore", "Bay", "Ely"}
    assert swap_made_up_entity("who restored it?", ["Dunmore Bay"], rng) is None


def test_the_retriever_prefers_rare_shared_words() -> None:
    texts = ["The mill and the wheel.", "The mill and the heron.", "The mill and the sea."]
    assert Retriever(texts).find("Where is the heron of the mill?", 1) == ["The mill and the heron."]
    assert Retriever(texts).find("Quite unrelated?", 2) == []


def test_own_questions_become_unanswerable_by_names_that_no_document_has() -> None:
    rows, dropped = unanswerable.generate(None, OWN, [], [], FAR, FAR, 10, 1)
    assert len(rows) == 20 and dropped == 0
    assert {row["kind"] for row in rows} == {"out_of_domain_entity"} and {row["from"] for row in rows} <= set(OWN)
    assert all("Ada Brill" in row["question"] or "Tom Pell" in row["question"] for row in rows)


def test_a_question_without_a_name_makes_none() -> None:
    assert unanswerable.generate(None, ["What opens at noon?"], [], [], FAR, FAR, 10, 1) == ([], 0)
