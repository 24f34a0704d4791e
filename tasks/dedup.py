"""Dedup: one document of each cluster of duplicates (URL, exact, near).

Reads artifacts/clean; writes artifacts/dedup/{documents.parquet, clusters.jsonl}.
Alone: python -m tasks.dedup
"""

from pathlib import Path

from pipelines import artifacts
from pipelines.config import DedupConfig
from pipelines.data import documents
from pipelines.data.duplicates import Cluster, clusters
from tasks import task


def dedup(source: Path, out: Path, config: DedupConfig) -> dict[str, float]:
    """Keep one document of each cluster; returns how many went, by reason. Lists clusters of several."""
    found = documents.read(source / "documents.parquet")
    grouped = clusters(found, config.shingle, config.bands, config.rows, config.similarity)
    several = [cluster for cluster in grouped if cluster.members]
    documents.write_clustered(out / "documents.parquet", [cluster.kept for cluster in grouped])
    artifacts.write_rows(out / "clusters.jsonl", [_row(cluster) for cluster in several])
    reasons = [member.reason for cluster in several for member in cluster.members]
    counts = {f"dropped_{reason}": reasons.count(reason) for reason in ("url", "exact", "near")}
    return {"documents": len(grouped), "dropped": len(reasons), "clusters": len(several), **counts}


def _row(cluster: Cluster) -> artifacts.Row:
    members = [
        {
            "id": each.document.id,
            "source": each.document.source,
            "reason": each.reason,
            "similarity": round(each.similarity, 4),
        }
        for each in cluster.members
    ]
    return {"kept": cluster.kept.id, "members": members}


if __name__ == "__main__":
    with task("dedup") as t:
        t.finish(dedup(t.input("clean"), t.out, t.config.dedup))
