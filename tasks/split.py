"""Split: what the hand-written questions ask about stays in training; some of the rest is held out.

Reads artifacts/dedup, the folder `split.questions` and the evaluation sets of `split.decontaminate`; writes to
artifacts/split/ train.parquet, validation.parquet, test.parquet and, of what they share with each other and with the
evaluation sets, contamination.jsonl. Alone: python -m tasks.split
"""

from functools import partial
from pathlib import Path

from pipelines import artifacts
from pipelines.config import DecontaminateConfig, SplitConfig
from pipelines.data import contamination, documents, hold_out
from pipelines.data.contamination import Index
from pipelines.data.documents import Document
from pipelines.data.runner import Runner
from pipelines.errors import UserError
from pipelines.progress import say
from tasks import task

SIDES = ("train", "validation", "test")
FEWEST = 6  # words of a question that can be told from a turn of phrase


def split(source: Path, out: Path, config: SplitConfig, seed: int, runner: Runner) -> dict[str, float]:
    """Divide the documents; returns the size of each part, and what was cut from which.

    Raises:
        UserError: the questions are missing or name a source that is no document; there is no evaluation set.
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
    ids = {side: {each for each, its in sides.items() if its == side} for side in SIDES}
    rows, changed = _decontaminate(shards, ids, config.decontaminate, runner)
    artifacts.write_rows(out / "contamination.jsonl", rows)
    counts = {}
    for side in SIDES:
        counts[f"documents_{side}"] = documents.gather(shards, out / f"{side}.parquet", ids[side], changed)
    if not counts["documents_test"]:
        say("split: questions ask about every document, so none is held out to measure bits per byte.")
    leaks = [row for row in rows if row["action"] != "none"]
    return {
        **counts,
        "documents_asked_about": len(asked_about),
        "overlaps": len(rows),
        "leaks": len(leaks),
        "documents_cut": len(changed),
    }


def _decontaminate(
    shards: list[Path], ids: dict[str, set[str]], config: DecontaminateConfig, runner: Runner
) -> tuple[list[artifacts.Row], dict[str, str]]:
    """Return what training shares with what is measured, and the texts that are other after the cuts, by id."""
    rows: list[artifacts.Row] = []
    changed: dict[str, str] = {}
    asked = Index(contamination.items(config.against), config.words, FEWEST)
    for document, overlap in _shared(shards, asked, ids["train"], runner):
        leaks = contamination.leaks(overlap, config.share)
        rows.append(contamination.row(asked, overlap, document, config.action if leaks else "none"))
        if leaks and config.action == "cut":
            changed[document.id] = contamination.without(document.text, asked, config.share)
    held_out = [
        each for shard in shards for each in documents.read(shard) if each.id in ids["validation"] | ids["test"]
    ]
    half = config.held_out_words // 2  # each run of so many words, on one side, begins a half
    passages = Index(contamination.paragraphs(held_out), half, half, stride=half)
    repeated = set()
    for document, overlap in _shared(shards, passages, ids["train"], runner):
        if overlap.words >= config.held_out_words:
            rows.append(contamination.row(passages, overlap, document, config.action))
            repeated.add(passages.items[overlap.item].id)
    if config.action == "cut":
        changed |= _without(held_out, repeated)
    return rows, changed


def _shared(
    shards: list[Path], index: Index, ids: set[str], runner: Runner
) -> list[tuple[Document, contamination.Overlap]]:
    check = partial(contamination.check, index=index, ids=frozenset(ids))
    return [found for each in runner.over(check, shards, "looking for leaks", few=4) for found in each]


def _without(held_out: list[Document], repeated: set[str]) -> dict[str, str]:
    """Return, by id, the held-out documents without the paragraphs that training has too."""
    changed = {}
    for document in held_out:
        parts = list(enumerate(document.text.split(contamination.SEPARATOR)))
        kept = [part for number, part in parts if f"{document.id}#{number}" not in repeated]
        if len(kept) < len(parts):
            changed[document.id] = contamination.SEPARATOR.join(kept)
    return changed


def _cluster_of(facts: dict[str, list[str]], rows: list[artifacts.Row]) -> dict[str, str]:
    """Return for each source, of kept documents and of their duplicates, the id of the kept one."""
    duplicates = {member["source"]: row["kept"] for row in rows for member in row["members"]}
    return dict(zip(facts["source"], facts["id"], strict=True)) | duplicates


if __name__ == "__main__":
    with task("split") as t:
        runner = Runner(**t.config.data.model_dump())
        t.finish(split(t.input("dedup"), t.out, t.config.split, t.config.compute.seed, runner))
