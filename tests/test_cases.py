"""Small documents with defects seen in real files, extracted and cleaned, compared with expected values.

tests/cases/expected.yaml has the expected values and documents its own format.
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
OTHERS = ("questions_", "robots_", "server_", "import_rows_")  # inputs of test_cases_rows.py and test_cases_servers.py
SOUND = "text_wrapped_at_72_with_list.txt"
DOCUMENT_KEYS = {"text", "cleaned", "has", "verbatim", "absent", "title", "date", "url", "dropped"}

_FILE = yaml.safe_load((CASES / "expected.yaml").read_text(encoding="utf-8"))
EXPECTED: dict[str, Any] = _FILE["documents"]


def filled(value: Any) -> Any:
    """Replace the names of shared paragraphs by their text."""
    if isinstance(value, list):
        return [filled(each) for each in value]
    for name, paragraph in _FILE["texts"].items():
        value = value.replace("{" + name + "}", paragraph)
    return value


def outcomes(case: Any) -> Iterator[tuple[list[dict[str, Any]], list[str]]]:
    """Yield each accepted outcome of a file: its documents and the patterns of its rejection reasons."""
    if isinstance(case, dict) and "either" in case:
        for each in case["either"]:
            yield from outcomes(each)
    elif isinstance(case, dict) and not case.keys() & DOCUMENT_KEYS:
        yield [document(each) for each in case.get("documents", [])], case.get("rejects", [])
    else:
        yield [document(case)], []


def document(expected: Any) -> dict[str, Any]:
    """Return the expected values of one document by key."""
    if isinstance(expected, dict):
        assert expected.keys() <= DOCUMENT_KEYS
        return expected
    return {"text": expected if isinstance(expected, list) else [expected]}


def lines(text: str) -> list[str]:
    """Return the non-empty lines of a text with normalized spaces."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def matches(text: str, expected: list[Any], wrapped: bool) -> bool:
    """Return whether a text matches the expected lines; a `wrapped` text may break lines at any space."""
    choices = [each if isinstance(each, list) else [each] for each in filled(expected)]
    accepted = ("\n".join(each for each in chosen if each) for chosen in product(*choices))
    found = "\n".join(lines(text))
    if wrapped:
        return any(re.fullmatch(re.escape(one).replace(r"\ ", "[ \n]"), found) for one in accepted)
    return found in accepted


def faults(found: Document, cleaned: str, expected: dict[str, Any]) -> Iterator[str]:
    """Yield the differences of a document from its expected values."""
    stages = {"extract": found.text, "clean": cleaned}
    if "text" in expected and not matches(found.text, expected["text"], wrapped=found.format == "text"):
        yield f"extract gives {lines(found.text)}"
    if (text := expected.get("cleaned", expected.get("text"))) and not matches(cleaned, text, wrapped=False):
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


def normalized(found: list[Document], folder: Path) -> list[str]:
    """Return the texts of documents after the normalization pass of clean."""
    if not found:
        return []
    documents.write_shard(folder / "read.parquet", found)
    passes.normalize_shard(folder / "read.parquet", folder / "clean")
    return [each.text for each in documents.read(folder / "clean")]


def differences(found: list[Found], folder: Path, wanted: list[dict[str, Any]], rejects: list[str]) -> list[str]:
    """Return the differences of a file's documents and rejects from one outcome."""
    read = [each for each in found if isinstance(each, Document)]
    refused = [
        "".join(each.source.partition("#")[1:]) + f": {each.reason}" for each in found if isinstance(each, Reject)
    ]
    if len(read) != len(wanted) or len(refused) != len(rejects):
        return [f"{len(read)} documents, rejects {refused}"]
    differ = [reason for reason, pattern in zip(refused, rejects, strict=True) if not re.search(pattern, reason)]
    for each, cleaned, right in zip(read, normalized(read, folder), wanted, strict=True):
        differ += faults(each, cleaned, right)
    return differ


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clean").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", EXPECTED)
def test_document_matches_an_accepted_outcome(name: str, folder: Path) -> None:
    found = list(extract(CASES / name, CASES, LIMITS))
    json.dumps([vars(each) for each in found], ensure_ascii=False).encode()  # every string can be stored
    differ = [differences(found, folder, *outcome) for outcome in outcomes(EXPECTED[name])]
    assert [] in differ, differ


@pytest.mark.parametrize("name", [name for name, case in EXPECTED.items() if "dropped" in case])
def test_meaningless_text_is_dropped_by_clean(config: Config, name: str, folder: Path) -> None:
    def read(file: str) -> Iterator[Document]:
        for each in extract(CASES / file, CASES, LIMITS):
            assert isinstance(each, Document)
            yield replace(each, id=each.source)

    documents.write(folder / "documents", [*read(name), *read(SOUND)])
    clean(folder, folder / "clean", config.clean, Executor())
    assert [each.source for each in documents.read(folder / "clean/documents")] == [SOUND]


def test_urls_differing_in_fragment_are_kept_if_texts_differ(config: Config, folder: Path) -> None:
    pages = extract(CASES / "jsonl_spa_urls_differ_by_fragment.jsonl", CASES, LIMITS)
    documents.write(folder / "documents", documents.identified(each for each in pages if isinstance(each, Document)))
    dedup(folder, folder / "clean", config.dedup, Executor())
    assert documents.count(documents.shards(folder / "clean/documents")) == 2


def test_every_input_has_expected_values() -> None:
    inputs = {path.name for path in CASES.iterdir() if not path.name.startswith(("expected.", *OTHERS))}
    assert inputs == EXPECTED.keys()


@pytest.mark.parametrize("wrong", ["One. Two. Three.", "Two.\nOne.\nThree.", "One.\nTwo.\nTwo.\nThree.", "One.\nTwo."])
def test_joined_moved_repeated_or_lost_lines_do_not_match(wrong: str) -> None:
    expected = ["One.", "Two.", ["Three.", "Drei."]]
    assert matches("One.\n\nTwo.\n  Drei. ", expected, wrapped=False)
    assert not matches(wrong, expected, wrapped=False) and not matches(wrong, expected, wrapped=True)
