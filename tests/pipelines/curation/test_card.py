"""The dataset card: what the hub reads is sound whatever a user states, and its numbers are those of the rows."""

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


def made(rows: list[Row] = ROWS, languages: tuple[str | None, str | None] = ("en", "zh"), **facts: Any) -> str:
    splits = {"train": ("train.jsonl", rows[:7]), "validation": ("validation.jsonl", rows[7:])}
    documents: list[Row] = [
        {"id": "d1", "source": "mill.md", "language": languages[0]},
        {"id": "d2", "source": "a|b\n| x.md", "language": languages[1]},
    ]
    return card("curate", splits, REJECTS, documents, **(FACTS | facts))


def front(told: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(told.split("---\n")[1])
    return found


def counts(told: str, head: str) -> dict[str, int]:
    """Return the first two columns of the table that begins with `head`."""
    table = told.split(f"| {head} |", 1)[1].split("\n\n", 1)[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[2:]]
    return {row[0].strip(): int(row[2 if head == "document" else 1]) for row in cells}


def test_the_numbers_are_those_of_the_rows_and_add_up() -> None:
    told = made(kept={"answer": 4, "refusal": 1, "keyword_query": 900, "rehearsal": 30})
    assert counts(told, "split") == {"train": 7, "validation": 3}
    assert counts(told, "kind") == {"answer": 8, "refusal": 2}
    assert counts(told, "document") == {"mill.md": 5, "a\\|b \\| x.md": 3} and "2 are about none" in told
    assert counts(told, "passed") == {"answer": 4, "refusal": 1}
    assert counts(told, "reason") == {"leak": 2, "no_answer": 1}
    assert "Of 8 rows" in told and "| leak | 2 | 25.0% |" in told and "| answer | 4 | 50.0% |" in told
    assert sum(float(share) for share in re.findall(r"([\d.]+)% \|", told)) == 100.0


def test_equal_inputs_give_the_same_card_and_tables_have_no_gaps() -> None:
    told = made(kept={"answer": 5}, parameters={"curate": {"own": "data/own", "max": 0.5}}, commit="abc123")
    assert told == made(kept={"answer": 5}, parameters={"curate": {"max": 0.5, "own": "data/own"}}, commit="abc123")
    assert "exported at the commit abc123" in told and "  own: data/own" in told
    for card_ in (told, made(), made(kept={"answer": 5})):
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
def test_the_licence_is_the_one_stated_and_breaks_nothing(stated: str, license_: str, name: str | None) -> None:
    told = made(license_=stated)
    assert front(told)["license"] == license_ and front(told).get("license_name") == name
    assert ("unknown; it was not stated" in told) == (stated == "unknown")


def test_documents_may_have_licences_of_their_own() -> None:
    told = made(license_="CC0-1.0", licenses={"d1": "MIT"})
    assert "| mill.md | d1 | 5 | MIT |" in told and "| d2 | 3 | CC0-1.0 |" in told


@pytest.mark.parametrize(("rows", "size"), [(10, "n<1K"), (1_000, "1K<n<10K"), (99_999, "10K<n<100K")])
def test_the_hub_is_told_size_files_and_languages(rows: int, size: str) -> None:
    told = front(made(ROWS[:1] * rows, languages=("unknown", "zh")))
    assert told["size_categories"] == [size] and told["language"] == ["zh"]
    assert [each["path"] for each in told["configs"][0]["data_files"]] == ["train.jsonl", "validation.jsonl"]
    assert "language" not in front(made(languages=("unknown", None)))
