"""Cues: made of a sentence's own telling words, never of what they ask for, and different at each showing."""

import random

from pipelines.curation.keyword_queries import drop_words, keyword_queries, statements

TEXT = "THE MILL\n\nThe tide mill at Brunnick was restored by Wilmot Fanthorn in 1921. It was good of him to do so."


PROSE = (
    "The fibroblasts are large cells, which wander into the wound, and their function is to form the scar tissue. "
    "Conversely, the wound may dry. It is so."
)


def test_of_prose_the_ends_of_clauses_are_asked_for() -> None:
    found = statements([{"id": "d1", "title": "Repair", "text": PROSE}], 12, 35)
    assert [statement.plain for statement in found] == [True, False]
    assert [span for span, _ in found[0].spans] == ["large cells", "wound", "scar tissue"]
    assert [span for span, _ in found[1].spans] == ["Conversely", "dry"]  # no name, though written large


def test_what_the_first_clause_tells_at_its_end_is_asked_for() -> None:
    text = "The emblem of Byfold School is a heron, which stands still. Byfold School was founded by Ada Lorne."
    emblem, founded = statements([{"id": "d1", "title": "School", "text": text}], 12, 35)
    assert emblem.spans == (("Byfold School", "name"), ("heron", "end")) and not emblem.plain
    assert founded.spans == (("Byfold School", "name"), ("Ada Lorne", "name"))


def test_a_long_sentence_is_asked_about_by_its_clauses() -> None:
    found = statements([{"id": "d1", "title": "Repair", "text": PROSE}], 12, 8)
    assert [statement.text for statement in found][:2] == [
        "The fibroblasts are large cells",
        "which wander into the wound",
    ]
    assert all(PROSE[statement.start :].startswith(statement.text) for statement in found)


def test_only_sentences_that_say_something_are_statements() -> None:
    found = statements([{"id": "d1", "title": "Mill", "text": TEXT}, {"id": "d2", "title": "", "text": TEXT}], 12, 35)
    assert [statement.text[:13] for statement in found] == ["The tide mill"]
    assert TEXT[found[0].start :].startswith("The tide mill")
    assert ("Wilmot Fanthorn", "name") in found[0].spans
    assert statements([{"id": "d1", "title": "", "text": TEXT}], 12, 4) == []


def test_a_cue_asks_in_the_sentences_words_without_the_answer() -> None:
    (statement,) = statements([{"id": "d1", "title": "Mill", "text": TEXT}], 12, 35)
    made = list(keyword_queries(statement, 20, random.Random(1)))
    assert len(made) == 20 and len({cue for cue, _ in made}) > 10
    assert all(span not in cue and "was" not in cue.split() for cue, span in made)
    assert made == list(keyword_queries(statement, 20, random.Random(1)))


def test_a_sentence_of_one_telling_word_has_no_cue() -> None:
    (statement,) = statements([{"id": "d1", "title": "", "text": "It was Wilmot Fanthorn."}], 12, 35)
    assert list(keyword_queries(statement, 3, random.Random(1))) == []


def test_thinning_keeps_the_first_word_and_short_questions_whole() -> None:
    rng = random.Random(2)
    question = "Who restored the old tide mill at Brunnick after the war?"
    assert all(drop_words(question, rng).startswith("Who ") for _ in range(20))
    assert len({drop_words(question, rng) for _ in range(20)}) > 10
    assert drop_words("Who came?", rng) == "Who came?"
