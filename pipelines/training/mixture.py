"""Which texts an epoch reads, of several sources, each by its weight: a function of weights, seed and epoch alone.

A source is read in a seeded order, epoch after epoch; none of its texts again before all were, then in a new order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines import artifacts
from pipelines.runtime.errors import UserError
from pipelines.user_files import read_text

CORPUS = "corpus"
_KINDS = (".jsonl", ".parquet", ".txt")


@dataclass(frozen=True)
class Source:
    """Texts of which an epoch reads `weight` times as many as there are."""

    name: str
    texts: Sequence[str]
    weight: float
    middle: float = 0.0
    """Share of them that is read with its middle last."""


def sources(
    corpus: Sequence[str], folder: Path, weights: Mapping[str, float], middle: Mapping[str, float]
) -> list[Source]:
    """Return the corpus and the files of `folder`, which are named after them.

    Raises:
        UserError: there is no folder, two sources have one name, a source has no weight, a weight or a share has no
            source, or a row has no text.
    """
    if not folder.is_dir():
        raise UserError(f"pretrain.mixture: there is no folder {folder}; make it, empty if nothing is mixed in.")
    files: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix in _KINDS):
        if path.stem in {CORPUS, *files}:
            raise UserError(f"{path}: there is another source named {path.stem!r}; rename the file.")
        files[path.stem] = path
    names = {CORPUS, *files}
    for key, given in (("weights", weights), ("fim_rates", middle)):
        if unknown := sorted(given.keys() - names):
            raise UserError(f"pretrain.{key} names {unknown[0]!r}; there are {', '.join(sorted(names))} ({folder}).")
    if missing := sorted(names - weights.keys()):
        raise UserError(f"pretrain.weights does not say how often to read {missing[0]!r} ({folder}); 0 leaves it out.")
    texts = {CORPUS: corpus} | {name: _texts(path) for name, path in files.items()}
    return [Source(name, texts[name], weights[name], middle.get(name, 0.0)) for name in sorted(names)]


def drawn(found: Sequence[Source], seed: int, epoch: int) -> list[tuple[str, bool]]:
    """Return the texts of an epoch, each with whether its middle is read last.

    Over any number of epochs a source gives, to within one text, its weight in each.
    """
    chosen: list[tuple[str, bool]] = []
    for source in found:
        start, end = (int(source.weight * len(source.texts) * epochs) for epochs in (epoch, epoch + 1))
        places = _order(source, seed, start, end)
        middles = np.random.default_rng([seed, epoch, *source.name.encode()]).random(len(places)) < source.middle
        chosen += [(source.texts[place], middle) for place, middle in zip(places, middles.tolist(), strict=True)]
    return chosen


def _order(source: Source, seed: int, start: int, end: int) -> list[int]:
    """Return what stands from `start` to `end` where one shuffled round of a source's texts follows another."""
    if start == end:
        return []
    size = len(source.texts)
    first, last = start // size, (end - 1) // size
    rounds = [
        np.random.default_rng([seed, number, *source.name.encode(), 0]).permutation(size)
        for number in range(first, last + 1)
    ]
    places: list[int] = np.concatenate(rounds)[start - first * size : end - first * size].tolist()
    return places


def _texts(path: Path) -> list[str]:
    if path.suffix == ".txt":
        return [read_text(path)]
    rows = artifacts.read_rows(path) if path.suffix == ".jsonl" else artifacts.read_table(path)
    texts = [row.get("text") for row in rows]
    found = [text for text in texts if isinstance(text, str)]
    if len(found) < len(texts):
        raise UserError(f"{path}: row {texts.index(next(t for t in texts if not isinstance(t, str))) + 1} has no text.")
    return found
