"""What is done to the documents of one shard: mended in a first pass, judged in a second.

Between the two stand what only the whole corpus can tell: which lines are boilerplate, which letters are usual.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.artifacts import Row
from pipelines.data import documents, language, outliers, personal, quality
from pipelines.data.documents import Document
from pipelines.data.outliers import Reference
from pipelines.data.quality import Drop
from pipelines.data.repair import Edit, repair
from pipelines.data.repeated import Lines, lines, without

SAMPLE = 10_000  # documents that tell which letters are usual


@dataclass(frozen=True)
class Rules:
    """What a document must be, and what is made of it."""

    languages: Sequence[str]
    quality: quality.Rules
    max_kl: float
    personal_data: str
    personal_rules: Sequence[str]
    judge: str | None


@dataclass(frozen=True)
class Mended:
    """A shard after the first pass: its lines, and its edits as rows."""

    lines: Lines
    edits: list[Row]


@dataclass(frozen=True)
class Judged:
    """A shard after the second pass: what is left of it, and its drops and edits as rows."""

    documents: int
    characters: int
    drops: list[Row]
    edits: list[Row]


def mend(shard: Path, table: Path) -> Mended:
    """Mend how the documents of a shard are written; write them into `table`."""
    mended, edits = [], []
    for document in documents.read(shard):
        text, changed = repair(document.text, wrapped=document.format == "text")
        mended.append(replace(document, text=text, title=repair(document.title, wrapped=False)[0]))
        edits += _rows(document, changed)
    documents.write_shard(table / shard.name, mended)
    return Mended(lines([document.text for document in mended]), edits)


def usual(shard: Path, boilerplate: frozenset[int], share: float) -> list[Counter[str]]:
    """Return the letters of a share of a shard's documents, chosen by their ids, which are hashes."""
    table = pq.read_table(shard, columns=["id", "text"])
    chosen = [int(each[:8], 16) < share * 2**32 for each in table.column("id").to_pylist()]
    texts = table.column("text").filter(pa.array(chosen)).to_pylist()
    return [outliers.letters(without(text, boilerplate)[0]) for text in texts]


def judge(shard: Path, table: Path, boilerplate: frozenset[int], reference: Reference, rules: Rules) -> Judged:
    """Strip a shard's documents of boilerplate and personal data; write those that are fit into `table`."""
    kept: list[Document] = []
    drops, edits = [], []
    for document in documents.read(shard):
        text, changed = without(document.text, boilerplate)
        found = language.identify(text)
        drop = _unfit(text, found, reference, rules)
        if drop is None and rules.personal_data != "keep":
            text, masked = personal.mask(text, rules.personal_rules)
            if masked and rules.personal_data == "drop":
                drop = Drop("personal_data", ", ".join(edit.reason for edit in masked))
            changed += masked
            document = replace(document, title=personal.mask(document.title, rules.personal_rules)[0])
        if drop:
            drops.append({"id": document.id, "source": document.source, **vars(drop)})
            continue
        edits += _rows(document, changed)
        kept.append(replace(document, text=text, language=found))
    if kept:
        documents.write_shard(table / shard.name, kept)
    return Judged(len(kept), sum(len(document.text) for document in kept), drops, edits)


def _unfit(text: str, found: str, reference: Reference, rules: Rules) -> Drop | None:
    if drop := quality.judge(text, rules.quality):
        return drop
    if (distance := outliers.divergence(text, reference)) > rules.max_kl:
        return Drop("token_distribution", f"KL {distance:.2f} to the corpus")
    if rules.languages and found not in rules.languages:
        return Drop("language", found)
    return None


def _rows(document: Document, edits: Sequence[Edit]) -> list[Row]:
    return [{"id": document.id, "source": document.source, **vars(edit)} for edit in edits]
