"""Unanswerable questions: a name is swapped, and the window most likely to answer is found."""

import random

from pipelines.synthesis.unanswerable import Retriever, names, swap, swap_made_up


def test_names_are_capitalised_words_inside_a_sentence() -> None:
    found = names(["The keeper of Yarrel Point met Hester Wyvill. They left Yarrel Point."])
    assert found == {"Yarrel Point": 2, "Hester Wyvill": 1}
    assert "Hester Wyvill" in names(["Then came Hester Wyvill."])
    assert "Then" not in names(["Then came Hester Wyvill."])


def test_swap_replaces_the_longest_name_by_one_as_long() -> None:
    rng = random.Random(0)
    assert swap("Who painted Yarrel Point for Orr?", ["Dunmore Bay", "Ely"], rng) == "Who painted Dunmore Bay for Orr?"
    assert swap("who is it?", ["Dunmore Bay"], rng) is None
    assert swap("Who painted Yarrel Point?", ["Ely"], rng) is None


def test_a_made_up_name_is_put_together_from_strangers() -> None:
    rng = random.Random(0)
    found = swap_made_up("Who restored Yarrel Light?", ["Dunmore Bay", "Ely"], rng)
    assert found is not None and found.startswith("Who restored ") and "Yarrel" not in found
    assert set(found[13:-1].split()) <= {"Dunmore", "Bay", "Ely"}
    assert swap_made_up("who restored it?", ["Dunmore Bay"], rng) is None


def test_the_retriever_prefers_rare_shared_words() -> None:
    texts = ["The mill and the wheel.", "The mill and the heron.", "The mill and the sea."]
    assert Retriever(texts).find("Where is the heron of the mill?", 1) == ["The mill and the heron."]
    assert Retriever(texts).find("Quite unrelated?", 2) == []
