"""The dataset card: valid front matter for any stated licence, and counts that match the rows."""

import re
from typing import Any

import pytest
import yaml

from pipelines.artifacts import Row
from pipelines.curation.card import card

ROWS: list[Row] = [
    *({"kind": "answer", "source": "d1"} for _ in range(5)),
    *({"kind": "refusal", "source": None} for _ in range(2)),
    *({"kind": "answer", "source": "d2"} for _ in range(3)),
]
REJECTS: list[Row] = [{"reason": "leak"}, {"reason": "leak"}, {"reason": "no_answer"}]
FACTS: dict[str, Any] = {"form": "trl", "license_": "unknown"}


def built(rows: list[Row] = ROWS, languages: tuple[str | None, str | None] = ("en", "zh"), **facts: Any) -> str:
    splits = {"train": ("train.jsonl", rows[:7]), "validation": ("validation.jsonl", rows[7:])}
    documents: list[Row] = [
        {"id": "d1", "source": "mill.md", "language": languages[0]},
        {"id": "d2", "source": "a|b\n| x.md", "language": languages[1]},
    ]
    return card("curate", splits, REJECTS, documents, **(FACTS | facts))


def front(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def counts(text: str, head: str) -> dict[str, int]:
    """Return the first two columns of the table that begins with `head`."""
    table = text.split(f"| {head} |", 1)[1].split("\n\n", 1)[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[2:]]
    return {row[0].strip(): int(row[2 if head == "document" else 1]) for row in cells}


def test_counts_match_the_rows_and_shares_add_up_to_100() -> None:
    text = built(kept={"answer": 4, "refusal": 1, "keyword_query": 900, "rehearsal": 30})
    assert counts(text, "split") == {"train": 7, "validation": 3}
    assert counts(text, "kind") == {"answer": 8, "refusal": 2}
    assert counts(text, "document") == {"mill.md": 5, "a\\|b \\| x.md": 3} and "2 rows have none" in text
    assert counts(text, "passed") == {"answer": 4, "refusal": 1}
    assert counts(text, "reason") == {"leak": 2, "no_answer": 1}
    assert "Of 8 rows" in text and "| leak | 2 | 25.0% |" in text and "| answer | 4 | 50.0% |" in text
    assert sum(float(share) for share in re.findall(r"([\d.]+)% \|", text)) == 100.0


def test_equal_inputs_give_equal_cards_and_tables_are_complete() -> None:
    text = built(kept={"answer": 5}, parameters={"curate": {"own": "data/own", "max": 0.5}}, commit="abc123")
    assert text == built(kept={"answer": 5}, parameters={"curate": {"max": 0.5, "own": "data/own"}}, commit="abc123")
    assert "exported at the commit abc123" in text and "  own: data/own" in text
    for card_ in (text, built(), built(kept={"answer": 5})):
        for table in re.findall(r"(?:^\|.*\n)+", card_, re.M):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


@pytest.mark.parametrize(
    ("stated", "license_", "name"),
    [
        ("CC-BY-4.0", "cc-by-4.0", None),
        ("unknown", "unknown", None),
        ("yes", "yes", None),
        ("CC BY: 4, see [x", "other", "CC BY: 4, see [x"),
        ("a\n---\n# x", "other", "a --- # x"),
    ],
)
def test_any_stated_licence_gives_valid_front_matter(stated: str, license_: str, name: str | None) -> None:
    text = built(license_=stated)
    assert front(text)["license"] == license_ and front(text).get("license_name") == name
    assert ("unknown; it was not stated" in text) == (stated == "unknown")


def test_licence_of_a_document_precedes_the_default() -> None:
    text = built(license_="CC0-1.0", licenses={"d1": "MIT"})
    assert "| mill.md | d1 | 5 | MIT |" in text and "| d2 | 3 | CC0-1.0 |" in text


@pytest.mark.parametrize(("rows", "size"), [(10, "n<1K"), (1_000, "1K<n<10K"), (99_999, "10K<n<100K")])
def test_front_matter_has_size_files_and_languages(rows: int, size: str) -> None:
    matter = front(built(ROWS[:1] * rows, languages=("unknown", "zh")))
    assert matter["size_categories"] == [size] and matter["language"] == ["zh"]
    assert [each["path"] for each in matter["configs"][0]["data_files"]] == ["train.jsonl", "validation.jsonl"]
    assert "language" not in front(built(languages=("unknown", None)))
