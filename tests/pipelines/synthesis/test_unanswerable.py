"""Unanswerable questions: entity swaps, invented names, and retrieval of the closest windows."""

import random

from pipelines.artifacts import Row
from pipelines.synthesis import unanswerable
from pipelines.synthesis.unanswerable import Retriever, swap_entity, swap_made_up_entity
from pipelines.text.names import count_names

ANSWERED = [f"When did Oswin Drace open gate {number}?" for number in range(30)]
OUT_OF_DOMAIN = ["Where was Ada Brill born?", "Who taught Tom Pell to sing?"]


def generated(answered: list[str]) -> tuple[list[Row], int]:
    """Generate unanswerable questions without a reader."""
    domains = {"out_of_domain": OUT_OF_DOMAIN, "other_domains": OUT_OF_DOMAIN}
    return unanswerable.generate(None, answered=answered, passages=[], written=[], **domains, most=10, seed=1)


def test_names_are_capitalised_words_inside_a_sentence() -> None:
    found = count_names(["The keeper of Yarrel Point met Hester Wyvill. They left Yarrel Point."])
    assert found == {"Yarrel Point": 2, "Hester Wyvill": 1}
    assert "Hester Wyvill" in count_names(["Then came Hester Wyvill."])
    assert "Then" not in count_names(["Then came Hester Wyvill."])


def test_entity_swap_replaces_the_longest_name_by_one_of_equal_length() -> None:
    rng = random.Random(0)
    assert (
        swap_entity("Who painted Yarrel Point for Orr?", ["Dunmore Bay", "Ely"], rng)
        == "Who painted Dunmore Bay for Orr?"
    )
    assert swap_entity("who is it?", ["Dunmore Bay"], rng) is None
    assert swap_entity("Who painted Yarrel Point?", ["Ely"], rng) is None


def test_invented_name_combines_words_of_other_names() -> None:
    rng = random.Random(0)
    found = swap_made_up_entity("Who restored Yarrel Light?", ["Dunmore Bay", "Ely"], rng)
    assert found is not None and found.startswith("Who restored ") and "Yarrel" not in found
    assert set(found[13:-1].split()) <= {"Dunmore", "Bay", "Ely"}
    assert swap_made_up_entity("who restored it?", ["Dunmore Bay"], rng) is None


def test_retriever_prefers_rare_shared_words() -> None:
    texts = ["The mill and the wheel.", "The mill and the heron.", "The mill and the sea."]
    assert Retriever(texts).find("Where is the heron of the mill?", 1) == ["The mill and the heron."]
    assert Retriever(texts).find("Quite unrelated?", 2) == []


def test_retriever_ignores_common_words_beside_rare_ones() -> None:
    texts = [f"The mill has wheel {number}." for number in range(300)] + ["A heron is grey."]
    assert Retriever(texts).find("Has the mill a heron?", 2) == ["A heron is grey."]
    assert Retriever(texts).find("Has the mill wheels?", 2) == texts[:2]


def test_answered_questions_become_unanswerable_with_out_of_domain_names() -> None:
    rows, dropped = generated(ANSWERED)
    assert len(rows) == 20 and dropped == 0
    assert {row["kind"] for row in rows} == {"out_of_domain_entity"} and {row["from"] for row in rows} <= set(ANSWERED)
    assert all("Ada Brill" in row["question"] or "Tom Pell" in row["question"] for row in rows)


def test_question_without_a_name_gives_no_row() -> None:
    assert generated(["What opens at noon?"]) == ([], 0)
