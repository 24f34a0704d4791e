"""Data report: HTML page with the document funnel, examples of every rule, duplicates and leaks.

Reads artifacts/{ingest,clean,dedup,split}; writes artifacts/reports/data_report.html, and the funnel as metrics.
Standalone: python -m tasks.data_report
"""

import heapq
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines import artifacts
from pipelines.data import documents, report
from pipelines.data.config import DataReportConfig
from pipelines.data.report import ReasonSummary
from pipelines.runtime.html import render
from tasks import task


def data_report(folders: dict[str, Path], page: Path, config: DataReportConfig) -> dict[str, float]:
    """Write the report on the task outputs in `folders` (by task name); return the funnel."""
    metrics = {name: artifacts.record(folder)["metrics"] for name, folder in folders.items()}
    shards = {name: documents.shards(folders[name] / "documents") for name in ("ingest", "clean", "dedup")}
    rejects = report.by_reason(_with_countable_reasons(folders["ingest"] / "rejects.jsonl"), config.examples)
    drops = report.by_reason(artifacts.each_row(folders["clean"] / "drops.jsonl"), config.examples)
    edits = report.by_reason(artifacts.each_row(folders["clean"] / "edits.jsonl"), config.examples)
    clusters = _clusters(folders["dedup"], shards["clean"], config.clusters)
    funnel = _funnel(metrics)
    lengths = _both(report.lengths(shards["ingest"]), report.lengths(shards["dedup"]))
    facts = {
        "funnel": funnel,
        "rejects": rejects,
        "drops": drops,
        "edits": edits,
        "texts": report.texts(shards["ingest"], _ids(drops)),
        "clusters": clusters,
        "passages": artifacts.read_rows(folders["dedup"] / "passages.jsonl")[: config.examples],
        "contamination": artifacts.read_rows(folders["split"] / "contamination.jsonl")[: 4 * config.examples],
        "changed": _changed(folders, shards, config.edited),
        "lengths": [(f"{2**n:,} to {2 ** (n + 1):,}", *counts) for n, *counts in lengths],
        "formats": _both(report.values(shards["ingest"], "format"), report.values(shards["dedup"], "format")),
        "languages": report.values(shards["dedup"], "language").most_common(),
        "metrics": metrics,
    }
    page.write_text(render(report.TEMPLATE, facts), encoding="utf-8")
    return {each["name"].replace(" ", "_"): float(each["documents"]) for each in funnel}


def _with_countable_reasons(rejects: Path) -> Iterator[artifacts.Row]:
    """Yield the rejects with reasons stripped of numbers and file-specific details, so that they can be counted."""
    for row in artifacts.each_row(rejects):
        yield row | {"reason": re.sub(r"\d+", "…", row["reason"].split(":")[0]), "detail": row["reason"]}


def _ids(summaries: dict[str, ReasonSummary]) -> list[str]:
    return [row["id"] for each in summaries.values() for row in each.examples]


def _funnel(metrics: dict[str, dict[str, float]]) -> list[artifacts.Row]:
    """Return the number of documents left after each step, and the removed ones by reason."""
    ingest, clean, dedup, split = (metrics[name] for name in ("ingest", "clean", "dedup", "split"))
    held_out = split["documents_validation"] + split["documents_test"]
    steps = [
        ("found", ingest["documents"] + ingest["rejected"], {}),
        ("read", ingest["documents"], {"unreadable": ingest["rejected"]}),
        ("clean", clean["documents"], _reasons(clean)),
        ("unique", dedup["documents"], _reasons(dedup)),
        ("training", split["documents_train"], {"held out": held_out}),
    ]
    return [{"name": name, "documents": count, "gone": gone} for name, count, gone in steps]


def _reasons(metrics: dict[str, float]) -> dict[str, float]:
    reasons = [(name, count) for name, count in metrics.items() if name.startswith("dropped_") and count]
    most_first = sorted(reasons, key=lambda each: -each[1])
    return {name.removeprefix("dropped_").replace("_", " "): count for name, count in most_first}


def _clusters(dedup: Path, shards: list[Path], most: int) -> list[artifacts.Row]:
    """Return the largest clusters, each with the text of the kept document and the diffs of three members."""
    rows = heapq.nlargest(most, artifacts.each_row(dedup / "clusters.jsonl"), key=lambda row: len(row["members"]))
    shown = [{**row, "more": len(row["members"][3:]), "members": row["members"][:3]} for row in rows]
    ids = [each for row in shown for each in (row["kept"], *(member["id"] for member in row["members"]))]
    texts = report.texts(shards, ids)
    for row in shown:
        kept = texts[row["kept"]]
        row["text"] = kept
        for member in row["members"]:
            member["changes"] = report.changes(kept, texts[member["id"]])
    return shown


def _changed(folders: dict[str, Path], shards: dict[str, list[Path]], most: int) -> list[artifacts.Row]:
    """Return a sample of documents that were edited and kept, with their changes."""
    edited = {row["id"]: row["source"] for row in artifacts.each_row(folders["clean"] / "edits.jsonl")}
    kept = set(documents.columns(shards["clean"], ["id"]).column("id").to_pylist())
    chosen = report.sample_ids(edited.keys() & kept, most)
    before, after = (report.texts(shards[name], chosen) for name in ("ingest", "clean"))
    return [{"source": edited[each], "changes": report.changes(before[each], after[each])} for each in chosen]


def _both(before: Counter[Any], after: Counter[Any]) -> list[tuple[Any, int, int]]:
    return [(key, before[key], after[key]) for key in sorted(before | after)]


if __name__ == "__main__":
    with task("data_report") as t:
        inputs = {name: t.input(name) for name in ("ingest", "clean", "dedup", "split")}
        t.finish(data_report(inputs, t.report(), t.config.data_report))
        t.run.artifact(t.report())
