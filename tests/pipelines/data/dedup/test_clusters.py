"""URL normalization, near-duplicates and clusters on small documents."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.data import documents
from pipelines.data.dedup import minhash
from pipelines.data.dedup.clusters import candidates, clusters, equals
from pipelines.data.dedup.jaccard import Pairs, jaccard, shingles, similarities
from pipelines.data.dedup.minhash import LSHParameters, address, banding
from pipelines.data.documents import Document
from pipelines.text.words import normalise

ENGLISH = " ".join(f"On day {n} the keeper of tower {n * 7 % 31} wrote line {n * n} in his book." for n in range(40))
CHINESE = (
    "渡船每周三次往返于港口与大陆之间冬季风大时停航镇上的图书馆在山坡上门前挂着"
    "一盏灯守塔人每晚记录海况与风向并把簿子交给港务长保管"
)
LSH = LSHParameters(5, 28, 4)


def document(source: str, text: str, url: str | None = None) -> Document:
    return Document(source, source, url, "", "text", text)


def grouped(folder: Path, *found: Document, similarity: float = 0.6) -> dict[str, list[tuple[str, str]]]:
    """Return the clusters by document name, with two documents per shard and the longest kept."""
    for number in range(0, len(found), 2):
        documents.write_shard(folder / f"{number:05}.parquet", found[number : number + 2])
    shards = documents.shards(folder)
    together = minhash.joined([minhash.of_shard(shard, LSH) for shard in shards])

    def similar(pairs: Pairs) -> npt.NDArray[np.float64]:
        return similarities(pairs, shards, documents.starts(shards), 5)

    return {
        found[each.kept].source: [(found[member.document].source, member.reason) for member in each.members]
        for each in clusters(together, similar, similarity, lambda number: (-int(together.size[number]),))
    }


@pytest.mark.parametrize(
    "other",
    ["http://www.site.example/a/?utm_source=x&b=2&a=1#top", "https://SITE.example:443/a?a=1&b=2&fbclid=z"],
)
def test_urls_of_one_page_are_equal(other: str) -> None:
    assert address(other) == address("https://site.example/a?a=1&b=2") == "site.example/a?a=1&b=2"


@pytest.mark.parametrize("url", [None, "", "https://site.example/", "http://[broken", "https://site.example:99999/a"])
def test_urls_that_identify_no_page_are_none(url: str | None) -> None:
    assert address(url) is None


def test_duplicates_are_found_for_each_reason_across_shards(tmp_path: Path) -> None:
    found = grouped(
        tmp_path,
        document("a.txt", ENGLISH.upper().replace(".", "!")),
        document("b.txt", ENGLISH),
        document("c.txt", ENGLISH.replace("day 20", "day twenty") + " The end of the book is lost."),
        document("d.html", "Quite another text.", "https://site.example/d"),
        document("e.html", "Quite another text, saved.", "http://www.site.example/d/?utm_source=mail"),
    )
    assert found == {"c.txt": [("a.txt", "near"), ("b.txt", "near")], "e.html": [("d.html", "url")]}


def test_urls_with_different_fragments_need_similar_texts(tmp_path: Path) -> None:
    found = grouped(
        tmp_path,
        document("ferns", ENGLISH, "https://docs.example/guide#/ferns"),
        document("trust", CHINESE, "https://docs.example/guide#/trust"),
        document("anchor", ENGLISH + " The end.", "https://docs.example/guide#day-20"),
        document("marked", "Of no likeness.", "http://www.docs.example/guide/#/trust:~:text=book"),
    )
    assert found == {"anchor": [("ferns", "near")], "trust": [("marked", "url")]}


def test_first_of_equally_ranked_copies_is_kept(tmp_path: Path) -> None:
    assert grouped(tmp_path, document("a", ENGLISH), document("b", ENGLISH)) == {"a": [("b", "exact")]}


def test_different_and_empty_texts_are_not_clustered(tmp_path: Path) -> None:
    texts = [ENGLISH, " ".join(reversed(ENGLISH.split())), "", "…", "!!!", "One.", "Two."]
    assert not grouped(tmp_path, *(document(str(n), text) for n, text in enumerate(texts)))


def test_near_duplicates_are_found_in_chinese(tmp_path: Path) -> None:
    changed = CHINESE.replace("一盏灯", "两盏灯")
    found = grouped(tmp_path, document("a", CHINESE), document("b", changed), document("c", CHINESE[::-1]))
    assert found == {"a": [("b", "near")]}


def test_copy_of_either_page_version_joins_the_cluster(tmp_path: Path) -> None:
    old, new = ENGLISH, CHINESE
    page = "https://s.example/p"
    found = grouped(tmp_path, document("a", old, page), document("b", new, page), document("c", new))
    assert [len(members) for members in found.values()] == [2]


def test_candidates_below_the_similarity_are_not_duplicates(tmp_path: Path) -> None:
    texts = [ENGLISH, ENGLISH + " One more line was added by another hand."]
    truth = jaccard(*(shingles(normalise(text), 5) for text in texts))
    pair = [document(str(n), text) for n, text in enumerate(texts)]
    (tmp_path / "at").mkdir()
    (tmp_path / "above").mkdir()
    assert grouped(tmp_path / "at", *pair, similarity=truth) == {"1": [("0", "near")]}
    assert grouped(tmp_path / "above", *pair, similarity=truth + 0.001) == {}


def test_lsh_recall_matches_its_formula() -> None:
    rng = np.random.default_rng(0)
    known = [f"w{n}" for n in range(2000)]
    texts, truths = [], []
    for _ in range(300):
        words = [known[n] for n in rng.integers(2000, size=60)]
        other = [*words]
        for place in rng.choice(60, size=3, replace=False):
            other[place] = known[rng.integers(2000)]
        texts += [" ".join(words), " ".join(other)]
        truths.append(jaccard(shingles(texts[-2], 5), shingles(texts[-1], 5)))
    bands = minhash.bands(texts, LSH)
    found = (bands[::2] == bands[1::2]).any(axis=1)
    promised = np.mean([LSH.recall(truth) for truth in truths])
    assert abs(found.mean() - promised) < 0.05


def test_lsh_parameters_follow_from_similarity_and_recall() -> None:
    assert banding(5, 112, 0.6, 0.97) == LSHParameters(5, 28, 4)
    assert banding(5, 112, 0.8, 0.9).recall(0.8) >= 0.9
    assert banding(5, 112, 0.8, 0.9).rows > 4
    assert banding(5, 10, 0.1, 0.99) == LSHParameters(5, 10, 1)


def test_thousands_of_copies_yield_few_pairs_and_one_cluster() -> None:
    pairs = equals(np.full((3000, 1), 7, dtype=np.uint64))
    assert len(pairs) < 3000 * 9
    assert set(pairs.flatten().tolist()) == set(range(3000))


def test_equal_texts_are_compared_once() -> None:
    column = np.array([5, 5, 6], dtype=np.uint64)
    bands = np.array([[1], [1], [1]], dtype=np.uint64)
    found = candidates(minhash.Keys(column, column, bands, np.zeros(3, dtype=np.int64)))
    assert found.tolist() == [[0, 2]]
