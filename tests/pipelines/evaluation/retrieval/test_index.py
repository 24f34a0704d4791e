"""Passages of documents and their BM25 search."""

import pytest

from pipelines.artifacts import Row
from pipelines.evaluation.retrieval.index import Index
from pipelines.evaluation.retrieval.passages import MAX_SENTENCE, passages
from pipelines.evaluation.statements import content_stems
from pipelines.runtime.errors import UserError

MILL = "The mill was built in 1731. It grinds barley. Emeric Vosper drew it. It is closed. Nobody has a key."


def document(text: str, source: str = "mill.md", title: str | None = None) -> Row:
    return {"source": source, "title": title, "text": text}


def test_passages_overlap_by_half_and_reach_the_end() -> None:
    found = [each.text for each in passages([document(MILL)], 4)]
    assert found == [
        "The mill was built in 1731. It grinds barley. Emeric Vosper drew it. It is closed.",
        "Emeric Vosper drew it. It is closed. Nobody has a key.",
    ]
    assert [each.text for each in passages([document("One. Two.")], 4)] == ["One. Two."]
    assert [each.text for each in passages([document("One. Two.")], 1)] == ["One.", "Two."]
    assert list(passages([document(" \n")], 4)) == []


def test_text_without_full_stops_is_cut() -> None:
    found = list(passages([document("x" * (2 * MAX_SENTENCE + 1))], 2))
    assert [len(each.text) for each in found] == [2 * MAX_SENTENCE, MAX_SENTENCE + 1]


def test_search_ranks_by_shared_rare_words_and_by_the_title() -> None:
    documents = [document(MILL), document("It was built in 1860. It is closed.", "light.md", "The Lighthouse")]
    index = Index(list(passages(documents, 2)))
    assert index.search("Who drew the plans?", 1)[0].text == "Emeric Vosper drew it. It is closed."
    assert index.search("When was the lighthouse built?", 1)[0].source == "light.md"
    assert len(index.search("is it closed", 9)) == 3  # only passages that share a word
    assert index.search("zeppelin", 3) == [] and index.search("what of it?", 3) == []


def test_chinese_is_searched_by_characters() -> None:
    assert content_stems("潮汐磨坊 1783") == ["潮", "汐", "磨", "坊", "1783"]
    index = Index(list(passages([document("渡船每天两班。"), document("潮汐磨坊建于1783年。", "m")], 2)))
    assert index.search("磨坊建于哪一年？", 1)[0].source == "m"


def test_documents_without_a_word_raise() -> None:
    with pytest.raises(UserError, match="contain no word to search for; check artifacts/split"):
        Index(list(passages([document("the of and")], 2)))
