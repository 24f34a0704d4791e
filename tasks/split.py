"""Split: hold out validation and test text, keeping the evidence of the hand-written questions in training.

Whole documents are held out if enough of them are not needed by any question, else sections of training documents.
Reads artifacts/dedup, the folder `split.questions` and the evaluation sets of `split.decontaminate`; writes
artifacts/split/{train.parquet, validation.parquet, test.parquet, contamination.jsonl}, the last with the overlaps
between the splits and with the evaluation sets.
Standalone: python -m tasks.split
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import artifacts
from pipelines.data import documents
from pipelines.data.config import SplitConfig
from pipelines.data.executor import Executor
from pipelines.data.split import contamination, evidence, hold_out, sections
from pipelines.data.split.evidence import Place, Question
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from tasks import task

SIDES = ("train", "validation", "test")


def split(source: Path, out: Path, config: SplitConfig, seed: int, runner: Executor) -> dict[str, float]:
    """Split the documents; return the size of each split and the decontamination counts.

    Raises:
        UserError: a question names a source without a document, or nothing is left to train on.
    """
    shards = documents.shards(source / "documents")
    cluster = _cluster_of(shards, source / "clusters.jsonl")
    questions = _about(evidence.load_questions(config.questions), cluster, config.questions)
    named = _named(questions, cluster)
    needed = _needed(shards, questions, named, config, runner)
    asked_about = named.keys() | {document for document, _ in needed}
    sizes = documents.sizes(shards)
    sides = hold_out.sides(sizes, asked_about, config.validation_share, config.test_share, seed)
    with TemporaryDirectory(dir=out) as scratch:
        shards, section_sides = sections.complete(shards, sides, sizes, needed, config, seed, Path(scratch))
        ids = {side: {each for each, its in (sides | section_sides).items() if its == side} for side in SIDES}
        rows, changed = contamination.decontaminate(shards, ids, config.decontaminate, runner)
        for side in SIDES:
            documents.gather(shards, out / f"{side}.parquet", ids[side], changed)
    artifacts.write_rows(out / "contamination.jsonl", rows)
    return {
        **_measured(out, section_sides, sum(sizes.values()), config),
        "documents_asked_about": len(asked_about),
        "overlaps": len(rows),
        "leaks": sum(row["action"] != "none" for row in rows),
        "documents_cut": len(changed),
    }


def _about(questions: Sequence[Question], cluster: Mapping[str, str], folder: Path) -> list[Question]:
    """Return the questions that can be about this corpus; print a note if there are none or they name other documents.

    If none of the named documents exists, the questions belong to another corpus, such as the sample.
    """
    if all(Path(each.file).stem == evidence.GENERAL for each in questions):
        where = f"{folder} has no questions about documents"
        say(f"split: {where}, so models cannot be evaluated until you add some (docs/data.md).")
    sources = sorted({source for each in questions for source in each.sources})
    if not sources or cluster.keys() & set(sources):
        return list(questions)
    say(
        f"split: ignoring the questions in {folder}, because none of the documents they name "
        f"({hold_out.names(sources)}) exists; replace them with questions about your documents (docs/data.md)."
    )
    return [each for each in questions if not each.sources]


def _named(questions: Sequence[Question], cluster: Mapping[str, str]) -> dict[str, list[int]]:
    """Return, by document id, the questions that name the document or a duplicate of it."""
    files = {source: each.file for each in reversed(questions) for source in each.sources}
    if missing := files.keys() - cluster.keys():
        raise UserError(
            f"{files[min(missing)]} names {hold_out.names(missing)}, which is not a document: the file is missing, "
            "rejected or dropped (see artifacts/ingest/rejects.jsonl and artifacts/clean/drops.jsonl)."
        )
    named: dict[str, list[int]] = defaultdict(list)
    for number, each in enumerate(questions):
        for document in dict.fromkeys(cluster[source] for source in each.sources):
            named[document].append(number)
    return dict(named)


def _needed(
    shards: list[Path],
    questions: Sequence[Question],
    named: Mapping[str, list[int]],
    config: SplitConfig,
    runner: Executor,
) -> set[Place]:
    """Return the places that the questions need: their evidence, or the whole named documents if none is found."""
    search = partial(evidence.search, questions=questions, named=named, longest=config.section_characters)
    found = [row for each in runner.over(search, shards, "searching evidence", few=4) for row in each]
    places, without_evidence = evidence.needed(found, questions)
    whole = {document for document, numbers in named.items() if without_evidence.intersection(numbers)}
    return places | {(document, sections.EVERY) for document in whole}


def _measured(out: Path, section_sides: Mapping[str, str], total: int, config: SplitConfig) -> dict[str, float]:
    """Return the size of each split and print a note if one is small; sections are counted apart from documents.

    Raises:
        UserError: nothing is left to train on.
    """
    held = {side: documents.sizes([out / f"{side}.parquet"]) for side in SIDES}
    if not held["train"]:
        raise UserError("No text is left to train on; lower split.validation_share and split.test_share.")
    shares = {"validation": config.validation_share, "test": config.test_share}
    for side, share in shares.items():
        characters, wanted = sum(held[side].values()), share * total
        if characters < sections.MIN_SHARE * wanted:
            say(
                f"split: only {characters} characters are held out for {side}, while split.{side}_share requires "
                f"{wanted:.0f}; the questions need all other passages."
            )
    if not held["test"]:
        say("split: no text is held out for test, so evaluate skips bits per byte.")
    return {
        **{f"documents_{side}": len(held[side].keys() - section_sides.keys()) for side in SIDES},
        **{f"sections_{side}": len(held[side].keys() & section_sides.keys()) for side in shares},
        **{f"characters_{side}": sum(held[side].values()) for side in SIDES},
    }


def _cluster_of(shards: list[Path], clusters: Path) -> dict[str, str]:
    """Return the id of the kept document for each source, including the sources of duplicates."""
    facts = documents.columns(shards, ["id", "source"]).to_pydict()
    duplicates = {member["source"]: row["kept"] for row in artifacts.each_row(clusters) for member in row["members"]}
    return dict(zip(facts["source"], facts["id"], strict=True)) | duplicates


if __name__ == "__main__":
    with task("split") as t:
        runner = Executor(**t.config.data.model_dump())
        t.finish(split(t.input("dedup"), t.out, t.config.split, t.config.compute.seed, runner))
