"""Clean: mend, strip and drop. Every edit and every drop is counted by its reason.

Reads artifacts/ingest; writes artifacts/clean/{documents.parquet, drops.jsonl, edits.jsonl}.
Alone: python -m tasks.clean
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipelines import artifacts
from pipelines.config import CleanConfig
from pipelines.data import documents, language, personal, quality
from pipelines.data.documents import Document
from pipelines.data.outliers import divergences
from pipelines.data.quality import Drop
from pipelines.data.repair import Edit, repair
from pipelines.data.repeated import repeated_lines, without
from pipelines.errors import UserError
from pipelines.progress import track
from tasks import task

DROPS = (
    "few_words",
    "repetition",
    "few_letters",
    "word_length",
    "language",
    "token_distribution",
    "personal_data",
)
EDITS = ("unicode", "wrapped_line", "space", "repeated_line", "email", "phone")


class Journal:
    """What was done to which document, and why."""

    def __init__(self) -> None:
        """Begin empty."""
        self.drops: list[artifacts.Row] = []
        self.edits: list[artifacts.Row] = []

    def edited(self, document: Document, edits: Sequence[Edit]) -> None:
        """Note edits."""
        self.edits += [{"id": document.id, "source": document.source, **vars(edit)} for edit in edits]

    def dropped(self, document: Document, drop: Drop) -> None:
        """Note a drop."""
        self.drops.append({"id": document.id, "source": document.source, **vars(drop)})

    def metrics(self) -> dict[str, float]:
        """Count drops (documents) and edits (places) by reason."""
        drops = Counter(row["reason"] for row in self.drops)
        edits: Counter[str] = Counter()
        for row in self.edits:
            edits[row["reason"]] += row["count"]
        names = [f"dropped_{each}" for each in DROPS] + [f"edited_{each}" for each in EDITS]
        counts = [drops[each] for each in DROPS] + [edits[each] for each in EDITS]
        return {name: float(count) for name, count in zip(names, counts, strict=True)}


def clean(source: Path, out: Path, config: CleanConfig) -> dict[str, float]:
    """Clean the documents of `source`; returns counts by reason.

    Raises:
        UserError: nothing is left.
    """
    found = documents.read(source / "documents.parquet")
    journal = Journal()
    mended = _mend(found, config.repeated_line_documents, journal)
    fit = _drop(mended, config, journal)
    kept = _without_personal_data(fit, config.personal_data, journal)
    artifacts.write_rows(out / "drops.jsonl", journal.drops)
    artifacts.write_rows(out / "edits.jsonl", journal.edits)
    metrics = journal.metrics()
    if not kept:
        reasons = ", ".join(
            f"{name} {count:.0f}" for name, count in metrics.items() if name.startswith("dropped") and count
        )
        raise UserError(f"clean drops all {len(found)} documents ({reasons}); loosen its limits in params.yaml.")
    documents.write(out / "documents.parquet", kept)
    characters = sum(len(each.text) for each in kept)
    return {"documents": len(kept), "dropped": len(found) - len(kept), "characters": characters, **metrics}


def _mend(found: list[Document], most: int, journal: Journal) -> list[Document]:
    repaired = []
    for document in track(found, "repairing", len(found)):
        text, edits = repair(document.text, wrapped=document.format == "text")
        journal.edited(document, edits)
        repaired.append(replace(document, text=text, title=repair(document.title, wrapped=False)[0]))
    boilerplate = repeated_lines([document.text for document in repaired], most)
    mended = []
    for document in repaired:
        text, edits = without(document.text, boilerplate)
        journal.edited(document, edits)
        mended.append(replace(document, text=text))
    return mended


def _drop(mended: list[Document], config: CleanConfig, journal: Journal) -> list[Document]:
    distances = divergences([document.text for document in mended])
    fit = []
    for document, distance in track(zip(mended, distances, strict=True), "judging", len(mended)):
        drop = _judge(document.text, distance, config)
        if drop:
            journal.dropped(document, drop)
        else:
            fit.append(document)
    return fit


def _judge(text: str, distance: float, config: CleanConfig) -> Drop | None:
    drop = quality.judge(
        text,
        config.min_words,
        config.mean_word_length,
        config.min_alphabetic_share,
        config.max_top_ngram_share,
    )
    if drop is None and distance > config.max_kl:
        drop = Drop("token_distribution", f"KL {distance:.2f} to the corpus")
    if drop is None and config.languages and (found := language.identify(text)) not in config.languages:
        drop = Drop("language", found)
    return drop


def _without_personal_data(fit: list[Document], rule: str, journal: Journal) -> list[Document]:
    if rule == "keep":
        return fit
    kept = []
    for document in fit:
        text, edits = personal.mask(document.text)
        if edits and rule == "drop":
            journal.dropped(document, Drop("personal_data", ", ".join(edit.reason for edit in edits)))
            continue
        journal.edited(document, edits)
        kept.append(replace(document, text=text, title=personal.mask(document.title)[0]))
    return kept


if __name__ == "__main__":
    with task("clean") as t:
        t.finish(clean(t.input("ingest"), t.out, t.config.clean))
