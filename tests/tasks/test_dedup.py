"""Dedup on the sample corpus, compared with its manifest."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from pipelines import artifacts
from pipelines.config import Config
from pipelines.data import documents
from pipelines.data.documents import Document
from pipelines.data.executor import Executor
from tasks.clean import clean
from tasks.dedup import dedup
from tasks.ingest import ingest
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

DATA = ROOT / "data"
TRUTH = json.loads((DATA / "sample_manifest.json").read_text())


def test_only_planted_duplicates_are_found(config: Config, tmp_path: Path) -> None:
    for name in ("ingest", "clean", "dedup"):
        (tmp_path / name).mkdir()
    ingest(config.ingest.model_copy(update={"source": DATA / "raw"}), tmp_path / "ingest")
    before = clean(tmp_path / "ingest", tmp_path / "clean", config.clean, Executor())["documents"]
    metrics = dedup(tmp_path / "clean", tmp_path / "dedup", config.dedup, Executor())
    kept = {row["id"]: row for row in artifacts.read_table(tmp_path / "dedup/documents")}
    found = {}
    for cluster in artifacts.read_rows(tmp_path / "dedup/clusters.jsonl"):
        members = {kept[cluster["kept"]]["source"]: "kept"} | {
            each["source"]: each["reason"] for each in cluster["members"]
        }
        for pair in combinations(sorted(members), 2):
            found[frozenset(pair)] = {members[each] for each in pair} - {"kept"}
    planted = {"exact": "exact_duplicates", "near": "near_duplicates", "url": "same_url"}
    truth = {frozenset(pair): {reason} for reason, name in planted.items() for pair in TRUTH[name]}
    assert found == truth
    assert all(row["cluster"] == row["id"] for row in kept.values())
    assert metrics["documents"] == len(kept) == before - metrics["dropped"]
    assert [metrics[f"dropped_{reason}"] for reason in planted] == [len(TRUTH[name]) for name in planted.values()]


def test_preferred_newest_or_longest_document_is_kept(config: Config, tmp_path: Path) -> None:
    text = " ".join(f"On day {n} the keeper of tower {n * 7 % 31} wrote line {n * n}." for n in range(30))
    rows = [
        Document("a", "mail/a.txt", None, "", "text", f"{text} It was read out in the hall.", "2020-05"),
        Document("b", "mail/b.txt", None, "", "text", text, "2021-01-02"),
        Document("c", "book/c.txt", None, "", "text", text),
    ]
    documents.write(tmp_path / "clean/documents", rows)
    changes: list[tuple[dict[str, Any], str]] = [
        ({}, "a"),
        ({"keep": "newest"}, "b"),
        ({"keep": "newest", "prefer": ["book/"]}, "c"),
    ]
    for number, (change, kept) in enumerate(changes):
        out = tmp_path / str(number)
        out.mkdir()
        assert dedup(tmp_path / "clean", out, config.dedup.model_copy(update=change), Executor())["documents"] == 1
        assert [each.id for each in documents.read(out / "documents")] == [kept]
