"""Dedup: one document of each cluster of duplicates (URL, exact, near, meaning), the first sighting of each passage.

Reads artifacts/clean; writes artifacts/dedup/{documents/, clusters.jsonl, passages.jsonl}. Alone: python -m tasks.dedup
"""

from pathlib import Path

import pyarrow as pa

from pipelines import artifacts
from pipelines.data import documents
from pipelines.data.config import DedupConfig
from pipelines.data.dedup import deduplicate, minhash, semantic
from pipelines.data.dedup.clusters import NO_PAIRS, Cluster
from pipelines.data.dedup.deduplicate import Preference
from pipelines.data.dedup.minhash import Banding
from pipelines.data.dedup.passages import Passages
from pipelines.data.executor import Executor
from pipelines.runtime.progress import say
from tasks import task

REASONS = ("url", "exact", "near", "meaning")
_CURVE = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def dedup(source: Path, out: Path, config: DedupConfig, runner: Executor) -> dict[str, float]:
    """Keep one document of each cluster, and of each passage the first; returns how many went, by reason."""
    shards = documents.shards(source / "documents")
    banding = minhash.banding(config.shingle, config.hashes, config.similarity, config.recall)
    say(f"dedup: {_curve(banding)}")
    preference = Preference(config.prefer, config.keep == "newest")
    chosen = config.semantic
    same = NO_PAIRS if chosen is None else semantic.pairs(shards, chosen.model, chosen.similarity, runner)
    found = deduplicate.find(shards, banding, config.similarity, preference, runner, same)
    facts = documents.columns(shards, ["id", "source"])
    artifacts.write_rows(out / "clusters.jsonl", (_row(cluster, facts) for cluster in found))
    stays = deduplicate.remaining(shards, found)
    table = out / "documents"
    table.mkdir(exist_ok=True)
    removed: list[artifacts.Row] = []
    if config.passages is None:
        deduplicate.write(shards, stays, table, runner)
    else:
        unit = Passages(config.passages, config.passage_words)
        removed = deduplicate.write_without_repeats(shards, stays, table, unit, runner)
    artifacts.write_rows(out / "passages.jsonl", removed)
    reasons = [member.reason for cluster in found for member in cluster.members]
    left = documents.count(documents.shards(table))
    return {
        "documents": left,
        "dropped": len(facts) - left,
        "clusters": len(found),
        **{f"dropped_{reason}": reasons.count(reason) for reason in REASONS},
        "dropped_passages": sum(row["dropped"] for row in removed),
        "removed_passages": sum(row["count"] for row in removed),
    }


def _curve(banding: Banding) -> str:
    found = ", ".join(f"{banding.recall(similarity):.1%} at {similarity}" for similarity in _CURVE)
    return f"{banding.bands} bands of {banding.rows} hashes find, of the pairs of a similarity, {found}."


def _row(cluster: Cluster, facts: pa.Table) -> artifacts.Row:
    ids, sources = facts.column("id"), facts.column("source")
    members = [
        {
            "id": ids[each.document].as_py(),
            "source": sources[each.document].as_py(),
            "reason": each.reason,
            "similarity": round(each.similarity, 4),
        }
        for each in cluster.members
    ]
    return {"kept": ids[cluster.kept].as_py(), "members": members}


if __name__ == "__main__":
    with task("dedup") as t:
        t.finish(dedup(t.input("clean"), t.out, t.config.dedup, Executor(**t.config.data.model_dump())))
