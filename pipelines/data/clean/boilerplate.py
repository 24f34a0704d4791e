"""Boilerplate removal by line frequency (Llama 3, arXiv 2407.21783, 3.1.1): remove lines shared by many documents.

A repeated line that is a sentence may state a fact, such as the standard clause of many contracts. The first document
keeps it, as in passage deduplication; menus, headings and other fragments are removed everywhere.

Lines are counted by a 64-bit hash of their normal form, so that the lines of millions of documents fit in memory.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

from pipelines.data.clean.c4 import is_sentence
from pipelines.data.clean.normalize import Edit
from pipelines.data.fences import is_code, without_empty_lines


@dataclass(frozen=True)
class Lines:
    """Distinct lines of several documents."""

    owner: npt.NDArray[np.uint32]
    """Number of the document in its shard."""
    key: npt.NDArray[np.uint64]
    """Hash of the line."""
    size: npt.NDArray[np.uint32]
    """Length in characters."""
    sentence: npt.NDArray[np.bool_]
    """Whether the line is a sentence."""


Affected = Mapping[int, Set[int]]
"""Documents of a shard that contain repeated lines, by number: the keys of those that the document keeps."""


def lines(texts: Sequence[str]) -> Lines:
    """Return the distinct countable lines of each text."""
    line_of = [dict(_keyed(text.split("\n"))) for text in texts]
    owner = np.repeat(np.arange(len(line_of), dtype=np.uint32), [len(each) for each in line_of])
    keys = np.array([key for each in line_of for key in each], dtype=np.uint64)
    distinct = [line for each in line_of for line in each.values()]
    lengths = np.array([len(line) for line in distinct], dtype=np.uint32)
    return Lines(owner, keys, lengths, np.array([is_sentence(line) for line in distinct], dtype=np.bool_))


def repeated_lines(shards: Sequence[Lines], most: int) -> frozenset[int]:
    """Return the keys of lines found in more than `most` documents over all shards.

    Llama 3 applies the rule after deduplication; here it runs before. A document with more than half of its text in
    repeated lines is therefore treated as a copy and not counted, so that copying a document does not turn it into
    boilerplate.
    """
    suspects = _frequent([shard.key for shard in shards], most)
    return frozenset(_frequent([_of_originals(shard, suspects) for shard in shards], most).tolist())


def affected(shards: Sequence[Lines], repeated: frozenset[int]) -> list[Affected]:
    """Return the affected documents of each shard; a repeated sentence is kept by the first document with it.

    A copy with the same lines keeps what the first document keeps, and so remains an exact duplicate.
    """
    keys, first = np.array(list(repeated), dtype=np.uint64), dict[int, int]()
    found: list[Affected] = []
    for shard in shards:
        marked = np.isin(shard.key, keys)
        owners = np.unique(shard.owner[marked]).tolist()
        kept: dict[int, Set[int]] = dict.fromkeys(owners, frozenset())
        content = {owner: _content(shard, owner) for owner in owners}
        marked &= shard.sentence
        for key, owner in zip(shard.key[marked].tolist(), shard.owner[marked].tolist(), strict=True):
            if first.setdefault(key, content[owner]) == content[owner]:
                kept[owner] |= {key}
        found.append(kept)
    return found


def without(text: str, repeated: Set[int], kept: Set[int] = frozenset()) -> tuple[str, list[Edit]]:
    """Remove the `repeated` lines, except those with a key in `kept`."""
    if not repeated:
        return text, []
    all_lines = text.split("\n")
    removed = {line for key, line in _keyed(all_lines) if key in repeated and key not in kept}
    if not removed:
        return text, []
    dropped = [line for line in all_lines if line in removed]
    left = "\n".join(line for line in all_lines if line not in removed)
    return without_empty_lines(left).strip(), [Edit("repeated_line", len(dropped), dropped[0])]


def _frequent(keys: Sequence[npt.NDArray[np.uint64]], most: int) -> npt.NDArray[np.uint64]:
    found, counts = np.unique(np.concatenate(keys), return_counts=True)
    frequent: npt.NDArray[np.uint64] = found[counts > most]
    return frequent


def _content(shard: Lines, owner: int) -> int:
    """Return a hash of the distinct lines of a document; `owner` is sorted in `Lines`."""
    start, end = np.searchsorted(shard.owner, [owner, owner + 1])
    return xxhash.xxh3_64_intdigest(shard.key[start:end].tobytes())


def _of_originals(shard: Lines, suspects: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the suspect lines of a shard's documents, excluding documents that are copies."""
    suspect = np.isin(shard.key, suspects)
    documents = int(shard.owner.max(initial=0)) + 1
    in_all = np.bincount(shard.owner, shard.size, documents)
    in_suspects = np.bincount(shard.owner[suspect], shard.size[suspect], documents)
    original = 2 * in_suspects <= in_all
    return shard.key[suspect & original[shard.owner]]


def _keyed(all_lines: Sequence[str]) -> list[tuple[int, str]]:
    """Return the countable lines with their keys.

    Lines without a letter (rules, braces, rows of numbers), fenced code and table rows are exempt, because they repeat
    without being boilerplate.
    """
    found = []
    rows = _rows(all_lines)
    for number, (line, code) in enumerate(zip(all_lines, is_code(all_lines), strict=True)):
        if line and not code and (line[0].isalpha() or any(map(str.isalpha, line))) and number not in rows:
            found.append((xxhash.xxh3_64_intdigest(_normal(line).encode()), line))
    return found


def _normal(line: str) -> str:
    """Return a line with case folded and white space collapsed; most lines have single spaces already."""
    return " ".join(line.casefold().split()) if "  " in line or "\t" in line else line.casefold().strip()


def _rows(all_lines: Sequence[str]) -> set[int]:
    """Return the line numbers of table rows: an adjacent line has as many cells, unlike for a one-line menu."""
    bars = [line.count("|") for line in all_lines]
    if not any(bars):
        return set()
    around = zip([0, *bars], bars, [*bars[1:], 0], strict=False)
    return {number for number, (before, count, after) in enumerate(around) if count and count in (before, after)}
