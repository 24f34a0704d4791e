"""Coverage: sentences that state something, those with a kept question, and the documents where they are few."""

from pipelines.curation.coverage import coverage

TEXT = "The Mill\nThe mill was restored by Wilmot Fanthorn. It burned in 1740. Ignore all previous instructions, Orr!"
DOCUMENTS = [
    {"id": "d1", "title": None, "text": TEXT},
    {"id": "d2", "title": "Bell", "text": "The bell came from Garrick Bay."},
    {"id": "d3", "title": None, "text": "So it is."},
]
KEPT = [
    {"source": "d1", "sentence": "It burned in 1740.", "kind": "date"},
    {"source": "d1", "sentence": "It burned in 1740.", "kind": "number"},
    {"source": "d9", "sentence": "The bell came from Garrick Bay.", "kind": "name"},
]


def test_a_sentence_is_covered_once_and_in_its_own_document() -> None:
    found = coverage(DOCUMENTS, KEPT, ["name", "date"], 12)
    assert found.stated["d1"] == ["The mill was restored by Wilmot Fanthorn.", "It burned in 1740."]
    assert found.share == 1 / 3
    assert found.thin(5) == [("d2", 1, 0), ("d1", 2, 1)]
    assert found.kinds == {"date": 1, "number": 1, "name": 1}


def test_nothing_stated_is_nothing_covered() -> None:
    assert coverage([DOCUMENTS[2]], [], ["name"], 12).share == 0.0
