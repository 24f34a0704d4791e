"""Section-level hold-out: contiguous pieces of training documents that no question needs.

Used where too few whole documents can be held out, as in a corpus of one book.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.data import documents
from pipelines.data.config import SplitConfig
from pipelines.data.documents import Document
from pipelines.data.split.evidence import Place
from pipelines.data.split.hold_out import rank
from pipelines.data.split.pieces import pieces

MIN_SHARE = 0.5  # if whole documents provide less than this part of a split's share, sections are added
_SCRAP = 4  # sections shorter than a quarter of the target size are isolated headings or lines and are discarded
_SHORT = 2  # sections shorter than half the target size are used only while a split has less than half its share

EVERY = -1
"""Piece number that marks the whole document as needed."""


@dataclass(frozen=True)
class Section:
    """Pieces `first` to `last` (inclusive) of a document; `size` is their number of characters."""

    document: str
    first: int
    last: int
    size: int


def complete(
    shards: list[Path],
    sides: Mapping[str, str],
    sizes: Mapping[str, int],
    needed: Set[Place],
    config: SplitConfig,
    seed: int,
    scratch: Path,
) -> tuple[list[Path], dict[str, str]]:
    """Cut sections from training documents for splits that lack text; return the shards and the sections' splits.

    `sides` has the split and `sizes` the number of characters of each document; changed shards are written to
    `scratch`.
    """
    total = sum(sizes.values())
    wanted = {}
    for side, share in (("test", config.test_share), ("validation", config.validation_share)):
        held_out = sum(sizes[each] for each, its in sides.items() if its == side)
        if held_out < MIN_SHARE * share * total:
            wanted[side] = share * total - held_out
    if not wanted:
        return shards, {}
    longest = config.section_characters
    size = int(min(longest, *wanted.values()))
    training = (each for shard in shards for each in documents.read(shard) if sides[each.id] == "train")
    found = [section for each in training for section in _candidates(each, needed, longest, size)]
    chosen = _choose(found, wanted, size, seed)
    by_document: dict[str, list[Section]] = defaultdict(list)
    for section in sorted(chosen, key=lambda each: each.first):
        by_document[section.document].append(section)
    written = [_write(shard, scratch, by_document, longest) for shard in shards]
    return written, {_identity(section): side for section, side in chosen.items()}


def _candidates(document: Document, needed: Set[Place], longest: int, size: int) -> list[Section]:
    """Return the pieces that no question needs, grouped into sections of at most `size` characters or of one piece.

    Pieces are those of `pieces(text, longest)`.
    """
    if (document.id, EVERY) in needed:
        return []
    found: list[Section] = []
    current: Section | None = None
    for number, piece in enumerate(pieces(document.text, longest)):
        if (document.id, number) in needed:
            current = None
        elif current is not None and current.size + len(piece) <= size:
            found[-1] = current = replace(current, last=number, size=current.size + len(piece))
        else:
            current = Section(document.id, number, number, len(piece))
            found.append(current)
    return [each for each in found if each.size * _SCRAP >= size]


def _choose(found: Iterable[Section], wanted: Mapping[str, float], size: int, seed: int) -> dict[Section, str]:
    """Assign sections to splits in seeded order, sections of at least half of `size` first.

    No split receives more characters than `wanted`.
    """
    short = {each: each.size * _SHORT < size for each in found}
    ranked = sorted(short, key=lambda each: (short[each], rank(f"{each.document}#{each.first}", seed)))
    chosen: dict[Section, str] = {}
    for side, most in wanted.items():
        left = most
        for section in ranked:
            needed = not short[section] or left > most / 2
            if section not in chosen and section.size <= left and needed:
                chosen[section] = side
                left -= section.size
    return chosen


def _cut(document: Document, chosen: Sequence[Section], longest: int) -> tuple[Document, list[Document]]:
    """Return a document without the chosen sections, and each section as a separate document."""
    parts = pieces(document.text, longest)
    inside = {number for each in chosen for number in range(each.first, each.last + 1)}
    rest = "".join(part for number, part in enumerate(parts) if number not in inside).strip()
    return replace(document, text=rest), [
        replace(
            document,
            id=_identity(each),
            source=f"{document.source}#{each.first + 1}-{each.last + 1}",
            text="".join(parts[each.first : each.last + 1]).strip(),
            headings=(),
        )
        for each in chosen
    ]


def _identity(section: Section) -> str:
    """Return the document id of a section."""
    return f"{section.document}#{section.first + 1}"


def _write(shard: Path, table: Path, chosen: Mapping[str, Sequence[Section]], longest: int) -> Path:
    """Write a shard to `table` with the `chosen` sections as separate documents; return `shard` if it has none."""
    found = list(documents.read(shard))
    if not any(each.id in chosen for each in found):
        return shard
    rows: list[Document] = []
    for document in found:
        rest, apart = _cut(document, chosen.get(document.id, ()), longest)
        rows += [rest, *apart]
    documents.write_shard(table / shard.name, rows, documents.CLUSTERED)
    return table / shard.name
