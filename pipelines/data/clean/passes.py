"""Cleaning passes over one shard: normalize in the first pass, filter in the second.

The corpus statistics for the second pass, boilerplate lines and the letter distribution, are computed in between.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipelines import user_functions
from pipelines.artifacts import Row
from pipelines.data import documents
from pipelines.data.clean import character_distribution, pii, quality
from pipelines.data.clean.boilerplate import Affected, Lines, lines, without
from pipelines.data.clean.c4 import without_lines
from pipelines.data.clean.character_distribution import Reference
from pipelines.data.clean.normalize import Edit, normalize
from pipelines.data.clean.quality import Drop
from pipelines.data.documents import Document
from pipelines.runtime.errors import UserError
from pipelines.text.language import identify

_TYPED = ("text", "jsonl", "parquet")  # formats whose reader does not resolve emphasis markup
SAMPLE_DOCUMENTS = 4_000  # sample size for the reference letter distribution


@dataclass(frozen=True)
class Rules:
    """Filter limits and PII masking options."""

    languages: Sequence[str]
    quality: Mapping[str, float]
    """Limits by the names in `quality.RULES`."""
    c4_lines: Sequence[str]
    max_kl: float
    pii_action: str
    pii_types: Sequence[str]
    custom_filter: str | None
    """User-provided filter, `module:function`."""


@dataclass(frozen=True)
class Normalized:
    """Result of the first pass on a shard: its lines, and its edits as rows."""

    lines: Lines
    edits: list[Row]


@dataclass(frozen=True)
class Filtered:
    """Result of the second pass on a shard: counts of the kept documents, and its drops and edits as rows."""

    documents: int
    characters: int
    drops: list[Row]
    edits: list[Row]


def normalize_shard(shard: Path, table: Path) -> Normalized:
    """Normalize the documents of a shard and write them to `table`."""
    normalized, edits = [], []
    for document in documents.read(shard):
        typed = document.format in _TYPED
        text, changed = normalize(document.text, document.format == "text", typed)
        title = " ".join(normalize(document.title, wrapped=False, typed=typed)[0].split())
        normalized.append(replace(document, text=text, title=title))
        edits += _rows(document, changed)
    documents.write_shard(table / shard.name, normalized)
    return Normalized(lines([document.text for document in normalized]), edits)


Marked = tuple[Path, Affected]
"""A normalized shard, and its documents that contain boilerplate."""


def sample_letters(shard: Path, boilerplate: frozenset[int], share: float) -> list[Counter[str]]:
    """Return the letter counts of a share of a shard's documents, sampled by a hash of their ids."""
    table = pq.read_table(shard, columns=["id", "text"])
    ids = table.column("id").to_pylist()
    chosen = [xxhash.xxh3_64_intdigest(each.encode()) < share * 2**64 for each in ids]
    texts = table.column("text").filter(pa.array(chosen)).to_pylist()
    return [character_distribution.letters(without(text, boilerplate)[0]) for text in texts]


def filter_shard(
    marked: Marked, table: Path, boilerplate: frozenset[int], reference: Reference, rules: Rules
) -> Filtered:
    """Remove boilerplate and PII from a shard's documents; write the documents that pass the filters to `table`."""
    shard, affected = marked
    custom_filter = load_custom_filter(rules.custom_filter)
    kept: list[Document] = []
    drops: list[Row] = []
    edits: list[Row] = []
    for number, document in enumerate(documents.read(shard)):
        text, removed = document.text, list[Edit]()
        if number in affected:
            text, removed = without(text, boilerplate, affected[number])
        text, by_c4 = without_lines(text, rules.c4_lines)
        removed += by_c4
        edits += _rows(document, removed)
        language = identify(text)
        drop = _drop_reason(text, language, reference, rules) or _judged(custom_filter(text, document.source))
        masked: list[Edit] = []
        if drop is None and rules.pii_action != "keep":
            text, masked = pii.mask(text, rules.pii_types)
            if masked and rules.pii_action == "drop":
                drop = Drop("pii_action", ", ".join(edit.reason for edit in masked))
        if drop:
            detail = "; ".join([drop.detail, *map(_removal, removed)])
            drops.append({"id": document.id, "source": document.source, "reason": drop.reason, "detail": detail})
            continue
        title = pii.mask(document.title, rules.pii_types)[0] if masked else document.title
        edits += _rows(document, masked)
        kept.append(replace(document, text=text, title=title, language=language))
    if kept:
        documents.write_shard(table / shard.name, kept)
    return Filtered(len(kept), sum(len(document.text) for document in kept), drops, edits)


CustomFilter = Callable[[str, str], str | None]
"""Takes a text and its source; returns the reason to drop it, or None."""


def load_custom_filter(name: str | None) -> CustomFilter:
    """Return the user-provided filter, or one that accepts every text.

    Raises:
        UserError: the function cannot be imported; later, it raises or returns neither a text nor None.
    """
    parameter = "clean.custom_filter"
    if name is None:
        return lambda *_: None
    function = user_functions.load(name, parameter)

    def reason(text: str, source: str) -> str | None:
        try:
            found = function(text)
        except Exception as error:
            raise UserError(f"{parameter}: {name} raised {type(error).__name__} for {source}: {error}") from error
        if not isinstance(found, str | None):
            raise UserError(
                f"{parameter}: {name} returned {found!r} for {source}; it must return a reason to drop it, or None."
            )
        return found

    return reason


def _drop_reason(text: str, language: str, reference: Reference, rules: Rules) -> Drop | None:
    if drop := quality.judge(text, rules.quality, language):
        return drop
    if (distance := character_distribution.divergence(character_distribution.letters(text), reference)) > rules.max_kl:
        return Drop("token_distribution", f"KL {distance:.2f} to the corpus")
    if rules.languages and language not in rules.languages:
        return Drop("language", language)
    return None


def _judged(reason: str | None) -> Drop | None:
    return Drop("judged", reason) if reason else None


def _removal(edit: Edit) -> str:
    """Describe lines removed before the filters, since a drop can be due to them."""
    return f"without {edit.count} {edit.reason.replace('_', ' ')}{'s' * (edit.count > 1)}, such as {edit.example!r}"


def _rows(document: Document, edits: Sequence[Edit]) -> list[Row]:
    return [{"id": document.id, "source": document.source, **vars(edit)} for edit in edits]
