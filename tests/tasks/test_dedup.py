"""Dedup on the sample corpus, held against its manifest."""

import json
from itertools import combinations
from pathlib import Path

from pipelines import artifacts
from pipelines.config import Config
from pipelines.data.runner import Runner
from tasks.clean import clean
from tasks.dedup import dedup
from tasks.ingest import ingest

DATA = Path(__file__).parent.parent.parent / "data"
TRUTH = json.loads((DATA / "sample_manifest.json").read_text())


def test_exactly_the_planted_duplicates_are_found(config: Config, tmp_path: Path) -> None:
    for name in ("ingest", "clean", "dedup"):
        (tmp_path / name).mkdir()
    ingest(config.ingest.model_copy(update={"source": DATA / "raw"}), tmp_path / "ingest")
    before = clean(tmp_path / "ingest", tmp_path / "clean", config.clean, Runner())["documents"]
    metrics = dedup(tmp_path / "clean", tmp_path / "dedup", config.dedup, Runner())
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
