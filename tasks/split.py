"""Split: what the hand-written questions ask about stays in training; some of the rest is held out.

Whole documents are held out where there are enough that no question needs, else sections of those in training.
Reads artifacts/dedup, the folder `split.questions` and the evaluation sets of `split.decontaminate`; writes to
artifacts/split/ train.parquet, validation.parquet, test.parquet and, of what they share with each other and with the
evaluation sets, contamination.jsonl. Alone: python -m tasks.split
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import artifacts
from pipelines.data import documents
from pipelines.data.config import DecontaminateConfig, SplitConfig
from pipelines.data.documents import Document
from pipelines.data.executor import Executor
from pipelines.data.split import contamination, evidence, hold_out, sections
from pipelines.data.split.contamination import Index
from pipelines.data.split.evidence import Asked, Place
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from tasks import task

SIDES = ("train", "validation", "test")
FEWEST = 6  # words of a question that can be told from a turn of phrase
_ENOUGH = 0.5  # of a side's share: less than that in whole documents is made up by sections

Sides = dict[str, str]
"""The side of each document or section, by id."""


def split(source: Path, out: Path, config: SplitConfig, seed: int, runner: Executor) -> dict[str, float]:
    """Divide the documents; returns the size of each part, and what was cut from which.

    Raises:
        UserError: some questions name a source that is no document, or nothing is left to train on.
    """
    shards = documents.shards(source / "documents")
    cluster = _cluster_of(shards, source / "clusters.jsonl")
    asked = _about(evidence.questions(config.questions), cluster, config.questions)
    named = _named(asked, cluster)
    needed = _needed(shards, asked, named, config, runner)
    asked_about = named.keys() | {document for document, _ in needed}
    sizes = documents.sizes(shards)
    sides = hold_out.sides(sizes, asked_about, config.validation_share, config.test_share, seed)
    with TemporaryDirectory(dir=out) as scratch:
        shards, apart = _sections(shards, sides, sizes, needed, config, seed, Path(scratch))
        ids = {side: {each for each, its in (sides | apart).items() if its == side} for side in SIDES}
        rows, changed = _decontaminate(shards, ids, config.decontaminate, runner)
        for side in SIDES:
            documents.gather(shards, out / f"{side}.parquet", ids[side], changed)
    artifacts.write_rows(out / "contamination.jsonl", rows)
    return {
        **_measured(out, apart, sum(sizes.values()), config),
        "documents_asked_about": len(asked_about),
        "overlaps": len(rows),
        "leaks": sum(row["action"] != "none" for row in rows),
        "documents_cut": len(changed),
    }


def _about(asked: Sequence[Asked], cluster: Mapping[str, str], folder: Path) -> list[Asked]:
    """Return the questions that can be about these documents; say so where there are none, or are about others.

    Questions that name documents, none of which is here, were written about other documents, such as the sample's.
    """
    if all(Path(each.file).stem == evidence.GENERAL for each in asked):
        where = f"{folder} holds no question about documents"
        say(f"split: {where}, so nothing will be measured until some are there (docs/data.md).")
    sources = sorted({source for each in asked for source in each.sources})
    if not sources or cluster.keys() & set(sources):
        return list(asked)
    say(
        f"split: the questions in {folder} are about other documents ({hold_out.names(sources)}), none of which is "
        "here; they are passed over, and yours belong in their place (docs/data.md)."
    )
    return [each for each in asked if not each.sources]


def _named(asked: Sequence[Asked], cluster: Mapping[str, str]) -> dict[str, list[int]]:
    """Return, by the id of a document, the questions that name it or a duplicate of it."""
    files = {source: each.file for each in reversed(asked) for source in each.sources}
    if missing := files.keys() - cluster.keys():
        raise UserError(
            f"{files[min(missing)]} asks about {hold_out.names(missing)}: no such document; it is not there, "
            "or was rejected or dropped (artifacts/ingest/rejects.jsonl, artifacts/clean/drops.jsonl)."
        )
    named: dict[str, list[int]] = defaultdict(list)
    for number, each in enumerate(asked):
        for document in dict.fromkeys(cluster[source] for source in each.sources):
            named[document].append(number)
    return dict(named)


def _needed(
    shards: list[Path], asked: Sequence[Asked], named: Mapping[str, list[int]], config: SplitConfig, runner: Executor
) -> set[Place]:
    """Return what the questions need: their evidence, or, where none is found, the documents that they name."""
    search = partial(evidence.search, asked=asked, named=named, longest=config.section_characters)
    found = [row for each in runner.over(search, shards, "looking for evidence", few=4) for row in each]
    places, lost = evidence.needed(found, asked)
    whole = {document for document, numbers in named.items() if lost.intersection(numbers)}
    return places | {(document, sections.EVERY) for document in whole}


def _sections(
    shards: list[Path],
    sides: Sides,
    sizes: Mapping[str, int],
    needed: set[Place],
    config: SplitConfig,
    seed: int,
    scratch: Path,
) -> tuple[list[Path], Sides]:
    """Cut sections out of training documents for sides that lack text; return the shards and the sections' sides."""
    total = sum(sizes.values())
    wanted = {}
    for side, share in (("test", config.test_share), ("validation", config.validation_share)):
        held_out = sum(sizes[each] for each, its in sides.items() if its == side)
        if held_out < _ENOUGH * share * total:
            wanted[side] = share * total - held_out
    if not wanted:
        return shards, {}
    longest = config.section_characters
    size = int(min(longest, *wanted.values()))
    training = (each for shard in shards for each in documents.read(shard) if sides[each.id] == "train")
    found = [section for each in training for section in sections.candidates(each, needed, longest, size)]
    chosen = sections.choose(found, wanted, size, seed)
    by_document: dict[str, list[sections.Section]] = defaultdict(list)
    for section in sorted(chosen, key=lambda each: each.first):
        by_document[section.document].append(section)
    written = [sections.write(shard, scratch, by_document, longest) for shard in shards]
    return written, {sections.identity(section): side for section, side in chosen.items()}


def _measured(out: Path, apart: Sides, total: int, config: SplitConfig) -> dict[str, float]:
    """Return what each side holds, and say where it is little; a section counts as no document.

    Raises:
        UserError: nothing is left to train on.
    """
    held = {side: documents.sizes([out / f"{side}.parquet"]) for side in SIDES}
    if not held["train"]:
        raise UserError("No text is left to train on; lower split.validation_share and split.test_share.")
    shares = {"validation": config.validation_share, "test": config.test_share}
    for side, share in shares.items():
        characters, wanted = sum(held[side].values()), share * total
        if characters < _ENOUGH * wanted:
            say(
                f"split: {characters} characters are held out for {side}, where split.{side}_share asks for "
                f"{wanted:.0f}; no other passage is free of what questions need."
            )
    if not held["test"]:
        say("split: no text is held out for the report, so evaluate leaves bits per byte out.")
    return {
        **{f"documents_{side}": len(held[side].keys() - apart.keys()) for side in SIDES},
        **{f"sections_{side}": len(held[side].keys() & apart.keys()) for side in shares},
        **{f"characters_{side}": sum(held[side].values()) for side in SIDES},
    }


def _decontaminate(
    shards: list[Path], ids: dict[str, set[str]], config: DecontaminateConfig, runner: Executor
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
    shards: list[Path], index: Index, ids: set[str], runner: Executor
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


def _cluster_of(shards: list[Path], clusters: Path) -> dict[str, str]:
    """Return for each source, of kept documents and of their duplicates, the id of the kept one."""
    facts = documents.columns(shards, ["id", "source"]).to_pydict()
    duplicates = {member["source"]: row["kept"] for row in artifacts.each_row(clusters) for member in row["members"]}
    return dict(zip(facts["source"], facts["id"], strict=True)) | duplicates


if __name__ == "__main__":
    with task("split") as t:
        runner = Executor(**t.config.data.model_dump())
        t.finish(split(t.input("dedup"), t.out, t.config.split, t.config.compute.seed, runner))
