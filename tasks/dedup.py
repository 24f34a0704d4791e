"""Dedup: keep one document per duplicate cluster (URL, exact, near, semantic) and the first occurrence of each passage.

Reads artifacts/clean; writes artifacts/dedup/{documents/, clusters.jsonl, passages.jsonl}.
Standalone: python -m tasks.dedup
"""

from pathlib import Path

import pyarrow as pa

from pipelines import artifacts
from pipelines.data import documents
from pipelines.data.config import DedupConfig
from pipelines.data.dedup import deduplicate, minhash, semantic
from pipelines.data.dedup.clusters import NO_PAIRS, Cluster
from pipelines.data.dedup.deduplicate import Preference
from pipelines.data.dedup.minhash import LSHParameters
from pipelines.data.dedup.passages import Passages
from pipelines.data.executor import Executor
from pipelines.runtime.progress import say
from tasks import task

REASONS = ("url", "exact", "near", "meaning")
_CURVE = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def dedup(source: Path, out: Path, config: DedupConfig, runner: Executor) -> dict[str, float]:
    """Remove duplicate documents and repeated passages; return the numbers of removed documents by reason."""
    shards = documents.shards(source / "documents")
    lsh = minhash.banding(config.shingle, config.hashes, config.similarity, config.recall)
    say(f"dedup: {_curve(lsh)}")
    preference = Preference(config.prefer, config.keep == "newest")
    settings = config.semantic
    pairs = NO_PAIRS if settings is None else semantic.pairs(shards, settings.model, settings.similarity, runner)
    clusters = deduplicate.find(shards, lsh, config.similarity, preference, runner, pairs)
    facts = documents.columns(shards, ["id", "source"])
    artifacts.write_rows(out / "clusters.jsonl", (_row(cluster, facts) for cluster in clusters))
    kept = deduplicate.remaining(shards, clusters)
    table = out / "documents"
    table.mkdir(exist_ok=True)
    removed: list[artifacts.Row] = []
    if config.passages is None:
        deduplicate.write(shards, kept, table, runner)
    else:
        unit = Passages(config.passages, config.passage_words)
        removed = deduplicate.write_without_repeats(shards, kept, table, unit, runner)
    artifacts.write_rows(out / "passages.jsonl", removed)
    reasons = [member.reason for cluster in clusters for member in cluster.members]
    left = documents.count(documents.shards(table))
    return {
        "documents": left,
        "dropped": len(facts) - left,
        "clusters": len(clusters),
        **{f"dropped_{reason}": reasons.count(reason) for reason in REASONS},
        "dropped_passages": sum(row["dropped"] for row in removed),
        "removed_passages": sum(row["count"] for row in removed),
    }


def _curve(lsh: LSHParameters) -> str:
    recalls = ", ".join(f"{lsh.recall(similarity):.1%} at {similarity}" for similarity in _CURVE)
    return f"{lsh.bands} bands of {lsh.rows} hashes; recall by Jaccard similarity: {recalls}."


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
