"""Addresses, near duplicates and clusters on small documents."""

import numpy as np
import pytest

from pipelines.data.documents import Document
from pipelines.data.duplicates import address, clusters
from pipelines.data.near import candidates, jaccard, near_pairs, shingles, signatures
from pipelines.data.words import normalise

ENGLISH = " ".join(f"On day {n} the keeper of tower {n * 7 % 31} wrote line {n * n} in his book." for n in range(40))
CHINESE = (
    "渡船每周三次往返于港口与大陆之间冬季风大时停航镇上的图书馆在山坡上门前挂着"
    "一盏灯守塔人每晚记录海况与风向并把簿子交给港务长保管"
)


def document(source: str, text: str, url: str | None = None) -> Document:
    return Document(source, source, url, "", "text", text)


def grouped(*documents: Document) -> dict[str, list[tuple[str, str]]]:
    found = clusters(documents, shingle=5, bands=28, rows=4, similarity=0.6)
    return {each.kept.source: [(member.document.source, member.reason) for member in each.members] for each in found}


@pytest.mark.parametrize(
    "other",
    ["http://www.site.example/a/?utm_source=x&b=2&a=1#top", "https://SITE.example:443/a?a=1&b=2&fbclid=z"],
)
def test_addresses_of_one_page_are_equal(other: str) -> None:
    page = document("x", "", "https://site.example/a?a=1&b=2")
    assert address(document("y", "", other)) == address(page) == "site.example/a?a=1&b=2"


@pytest.mark.parametrize("url", [None, "", "https://site.example/", "http://[broken", "https://site.example:99999/a"])
def test_what_names_no_page_is_no_address(url: str | None) -> None:
    assert address(document("x", "", url)) is None


def test_duplicates_are_found_for_each_reason_and_the_longest_is_kept() -> None:
    found = grouped(
        document("b.txt", ENGLISH),
        document("a.txt", ENGLISH.upper().replace(".", "!")),
        document("c.txt", ENGLISH.replace("day 20", "day twenty") + " The end of the book is lost."),
        document("d.html", "Quite another text.", "https://site.example/d"),
        document("e.html", "Quite another text, saved.", "http://www.site.example/d/?utm_source=mail"),
    )
    assert found == {"c.txt": [("a.txt", "near"), ("b.txt", "near")], "e.html": [("d.html", "url")]}


def test_of_equally_long_copies_the_first_by_path_is_kept() -> None:
    assert grouped(document("b", ENGLISH), document("a", ENGLISH)) == {"a": [("b", "exact")]}


def test_different_texts_and_empty_ones_stay_apart() -> None:
    texts = [ENGLISH, " ".join(reversed(ENGLISH.split())), "", "…", "!!!", "One.", "Two."]
    assert len(grouped(*(document(str(n), text) for n, text in enumerate(texts)))) == len(texts)


def test_near_duplicates_are_found_in_chinese() -> None:
    changed = CHINESE.replace("一盏灯", "两盏灯")
    other = CHINESE[::-1]
    assert grouped(document("a", CHINESE), document("b", changed), document("c", other)) == {
        "a": [("b", "near")],
        "c": [],
    }


def test_a_copy_of_either_version_of_a_page_joins_its_cluster() -> None:
    old, new = ENGLISH, CHINESE
    found = grouped(
        document("a", old, "https://s.example/p"), document("b", new, "https://s.example/p"), document("c", new)
    )
    assert [len(members) for members in found.values()] == [2]


def test_signatures_estimate_jaccard_and_bands_find_the_alike() -> None:
    texts = [normalise(text) for text in (ENGLISH, ENGLISH + " One more line was added by another hand.", CHINESE)]
    found = signatures(texts, 5, 112)
    truth = jaccard(shingles(texts[0], 5), shingles(texts[1], 5))
    assert found.shape == (3, 112)
    assert abs(np.mean(found[0] == found[1]) - truth) < 0.15
    assert candidates(found, 28) == [(0, 1)]


def test_candidates_below_the_similarity_are_no_duplicates() -> None:
    texts = [normalise(ENGLISH), normalise(ENGLISH + " One more line was added by another hand.")]
    truth = jaccard(*(shingles(text, 5) for text in texts))
    assert list(near_pairs(texts, 5, 28, 4, truth)) == [(0, 1)]
    assert list(near_pairs(texts, 5, 28, 4, truth + 0.001)) == []
