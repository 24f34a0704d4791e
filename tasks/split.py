"""Split: what the hand-written questions ask about stays in training; some of the rest is held out.

Reads artifacts/dedup and the folder `split.questions`; writes
artifacts/split/{train,validation,test}.parquet. Alone: python -m tasks.split
"""

from pathlib import Path

from pipelines import artifacts
from pipelines.config import SplitConfig
from pipelines.data import documents, hold_out
from pipelines.errors import UserError
from pipelines.progress import say
from tasks import task


def split(source: Path, out: Path, config: SplitConfig, seed: int) -> dict[str, float]:
    """Divide the documents; returns the size of each part.

    Raises:
        UserError: the questions are missing or name a source that is no document.
    """
    shards = documents.shards(source / "documents")
    facts = documents.columns(shards, ["id", "source"]).to_pydict()
    asked = hold_out.asked(config.questions)
    cluster = _cluster_of(facts, artifacts.read_rows(source / "clusters.jsonl"))
    if missing := asked.keys() - cluster.keys():
        raise UserError(
            f"{asked[min(missing)]} asks about {hold_out.names(missing)}: no such document; it is not there, "
            "or was rejected or dropped (artifacts/ingest/rejects.jsonl, artifacts/clean/drops.jsonl)."
        )
    asked_about = {cluster[each] for each in asked}
    sides = hold_out.sides(facts["id"], asked_about, config.validation_share, config.test_share, seed)
    for side in ("train", "validation", "test"):
        documents.gather(shards, out / f"{side}.parquet", {each for each, its in sides.items() if its == side})
    counts = {f"documents_{side}": list(sides.values()).count(side) for side in ("train", "validation", "test")}
    if not counts["documents_test"]:
        say("split: questions ask about every document, so none is held out to measure bits per byte.")
    return {**counts, "documents_asked_about": len(asked_about)}


def _cluster_of(facts: dict[str, list[str]], rows: list[artifacts.Row]) -> dict[str, str]:
    """Return for each source, of kept documents and of their duplicates, the id of the kept one."""
    duplicates = {member["source"]: row["kept"] for row in rows for member in row["members"]}
    return dict(zip(facts["source"], facts["id"], strict=True)) | duplicates


if __name__ == "__main__":
    with task("split") as t:
        t.finish(split(t.input("dedup"), t.out, t.config.split, t.config.compute.seed))
