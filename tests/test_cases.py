"""Small documents with what real files had wrong with them, each read and cleaned, held against the right values.

tests/cases/expected.yaml says what each must give, and explains its own form.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config import Config
from pipelines.data import documents
from pipelines.data.clean import passes
from pipelines.data.documents import Document
from pipelines.data.executor import Executor
from pipelines.data.extract.readers import Found, Limits, Reject, extract
from tasks.clean import clean
from tasks.dedup import dedup

CASES = Path(__file__).parent / "cases"
LIMITS = Limits(max_bytes=10**7, min_characters=200)
OTHERS = ("questions_", "robots_", "server_", "import_rows_")  # of test_cases_rows.py and test_cases_servers.py
SOUND = "text_wrapped_at_72_with_list.txt"
DOCUMENT_KEYS = {"text", "cleaned", "has", "verbatim", "absent", "title", "date", "url", "dropped"}

_FILE = yaml.safe_load((CASES / "expected.yaml").read_text(encoding="utf-8"))
EXPECTED: dict[str, Any] = _FILE["documents"]


def filled(value: Any) -> Any:
    """Put the shared paragraphs in the place of their names."""
    if isinstance(value, list):
        return [filled(each) for each in value]
    for name, paragraph in _FILE["texts"].items():
        value = value.replace("{" + name + "}", paragraph)
    return value


def outcomes(case: Any) -> Iterator[tuple[list[dict[str, Any]], list[str]]]:
    """Yield each accepted outcome of a file: its documents, and the patterns of its rejects."""
    if isinstance(case, dict) and "either" in case:
        for each in case["either"]:
            yield from outcomes(each)
    elif isinstance(case, dict) and not case.keys() & DOCUMENT_KEYS:
        yield [document(each) for each in case.get("documents", [])], case.get("rejects", [])
    else:
        yield [document(case)], []


def document(expected: Any) -> dict[str, Any]:
    """Return what is expected of one document by its keys."""
    if isinstance(expected, dict):
        assert expected.keys() <= DOCUMENT_KEYS
        return expected
    return {"text": expected if isinstance(expected, list) else [expected]}


def lines(text: str) -> list[str]:
    """Return the lines of a text that are not empty, with one space between words."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def given(text: str, expected: list[Any], wrapped: bool) -> bool:
    """Say whether a text is one of those that are expected; a `wrapped` one may break its lines at any space."""
    choices = [each if isinstance(each, list) else [each] for each in filled(expected)]
    accepted = ("\n".join(each for each in chosen if each) for chosen in product(*choices))
    found = "\n".join(lines(text))
    if wrapped:
        return any(re.fullmatch(re.escape(one).replace(r"\ ", "[ \n]"), found) for one in accepted)
    return found in accepted


def faults(found: Document, cleaned: str, expected: dict[str, Any]) -> Iterator[str]:
    """Yield in what a document differs from what is expected."""
    stages = {"extract": found.text, "clean": cleaned}
    if "text" in expected and not given(found.text, expected["text"], wrapped=found.format == "text"):
        yield f"extract gives {lines(found.text)}"
    if (text := expected.get("cleaned", expected.get("text"))) and not given(cleaned, text, wrapped=False):
        yield f"clean leaves {lines(cleaned)}"
    for stage, text in stages.items():
        spaced = " ".join(text.split())
        once = filled(expected.get("has", []))
        yield from (f"{stage}: not once {each!r}" for each in once if spaced.count(each) != 1)
        yield from (f"{stage}: changed {each!r}" for each in expected.get("verbatim", []) if text.count(each) != 1)
        yield from (f"{stage}: holds {each!r}" for each in expected.get("absent", []) if each in text)
    for name in ("title", "date", "url"):
        right = expected.get(name, getattr(found, name))
        right = [None if each is None else str(each) for each in (right if isinstance(right, list) else [right])]
        if getattr(found, name) not in right:
            yield f"{name} is {getattr(found, name)!r}"


def mended(found: list[Document], folder: Path) -> list[str]:
    """Return the texts of documents after the first pass of clean."""
    if not found:
        return []
    documents.write_shard(folder / "read.parquet", found)
    passes.normalize_shard(folder / "read.parquet", folder / "clean")
    return [each.text for each in documents.read(folder / "clean")]


def differences(found: list[Found], folder: Path, wanted: list[dict[str, Any]], rejects: list[str]) -> list[str]:
    """Return in what the documents and rejects of a file differ from one outcome."""
    read = [each for each in found if isinstance(each, Document)]
    refused = [
        "".join(each.source.partition("#")[1:]) + f": {each.reason}" for each in found if isinstance(each, Reject)
    ]
    if len(read) != len(wanted) or len(refused) != len(rejects):
        return [f"{len(read)} documents, rejects {refused}"]
    differ = [reason for reason, pattern in zip(refused, rejects, strict=True) if not re.search(pattern, reason)]
    for each, cleaned, right in zip(read, mended(read, folder), wanted, strict=True):
        differ += faults(each, cleaned, right)
    return differ


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clean").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", EXPECTED)
def test_a_document_gives_what_it_says(name: str, folder: Path) -> None:
    found = list(extract(CASES / name, CASES, LIMITS))
    json.dumps([vars(each) for each in found], ensure_ascii=False).encode()  # every string can be stored
    differ = [differences(found, folder, *outcome) for outcome in outcomes(EXPECTED[name])]
    assert [] in differ, differ


@pytest.mark.parametrize("name", [name for name, case in EXPECTED.items() if "dropped" in case])
def test_text_without_meaning_is_dropped_by_the_rules_of_clean(config: Config, name: str, folder: Path) -> None:
    pages = [each for file in (name, SOUND) for each in extract(CASES / file, CASES, LIMITS)]
    documents.write(folder / "documents", [replace(each, id=each.source) for each in pages])
    clean(folder, folder / "clean", config.clean, Executor())
    assert [each.source for each in documents.read(folder / "clean/documents")] == [SOUND]


def test_pages_of_one_address_but_for_the_fragment_stay_where_their_texts_differ(config: Config, folder: Path) -> None:
    pages = extract(CASES / "jsonl_spa_urls_differ_by_fragment.jsonl", CASES, LIMITS)
    documents.write(folder / "documents", documents.identified(each for each in pages if isinstance(each, Document)))
    dedup(folder, folder / "clean", config.dedup, Executor())
    assert documents.count(documents.shards(folder / "clean/documents")) == 2


def test_every_input_has_its_right_values() -> None:
    inputs = {path.name for path in CASES.iterdir() if not path.name.startswith(("expected.", *OTHERS))}
    assert inputs == EXPECTED.keys()


@pytest.mark.parametrize("wrong", ["One. Two. Three.", "Two.\nOne.\nThree.", "One.\nTwo.\nTwo.\nThree.", "One.\nTwo."])
def test_what_is_glued_moved_doubled_or_lost_is_no_right_value(wrong: str) -> None:
    expected = ["One.", "Two.", ["Three.", "Drei."]]
    assert given("One.\n\nTwo.\n  Drei. ", expected, wrapped=False)
    assert not given(wrong, expected, wrapped=False) and not given(wrong, expected, wrapped=True)
