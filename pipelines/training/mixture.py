"""Sample the texts of an epoch from weighted sources, deterministically from weights, seed and epoch.

Each source is read in a seeded order that continues across epochs and is reshuffled after every full pass.
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
    """Texts that are repeated `weight` times per epoch."""

    name: str
    texts: Sequence[str]
    weight: float
    fim_rate: float = 0.0
    """Share of texts trained with fill-in-the-middle."""


def sources(
    corpus: Sequence[str], folder: Path, weights: Mapping[str, float], fim_rates: Mapping[str, float]
) -> list[Source]:
    """Return the corpus and the files of `folder` as sources, named after the files.

    Raises:
        UserError: the folder does not exist, two sources have the same name, a source has no weight, a weight or FIM
            rate has no source, or a row has no text.
    """
    if not folder.is_dir():
        raise UserError(f"pretrain.mixture: there is no folder {folder}; create it, empty if nothing is mixed in.")
    files: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix in _KINDS):
        if path.stem in {CORPUS, *files}:
            raise UserError(f"{path}: there is another source named {path.stem!r}; rename the file.")
        files[path.stem] = path
    names = {CORPUS, *files}
    for key, given in (("weights", weights), ("fim_rates", fim_rates)):
        if unknown := sorted(given.keys() - names):
            raise UserError(
                f"pretrain.{key} names {unknown[0]!r}; the sources are {', '.join(sorted(names))} ({folder})."
            )
    if missing := sorted(names - weights.keys()):
        raise UserError(f"pretrain.weights has no weight for the source {missing[0]!r} ({folder}); 0 leaves it out.")
    texts = {CORPUS: corpus} | {name: _texts(path) for name, path in files.items()}
    return [Source(name, texts[name], weights[name], fim_rates.get(name, 0.0)) for name in sorted(names)]


def sample_epoch(mixture: Sequence[Source], seed: int, epoch: int) -> list[tuple[str, bool]]:
    """Return the texts of an epoch, each with whether it is trained with fill-in-the-middle.

    Over any number of epochs, each source contributes its weight per epoch to within one text.
    """
    chosen: list[tuple[str, bool]] = []
    for source in mixture:
        start, end = (int(source.weight * len(source.texts) * epochs) for epochs in (epoch, epoch + 1))
        places = _order(source, seed, start, end)
        fim = np.random.default_rng([seed, epoch, *source.name.encode()]).random(len(places)) < source.fim_rate
        chosen += [(source.texts[place], use_fim) for place, use_fim in zip(places, fim.tolist(), strict=True)]
    return chosen


def _order(source: Source, seed: int, start: int, end: int) -> list[int]:
    """Return positions `start` to `end` of the endless sequence of shuffled passes over a source's texts."""
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
    valid = [text for text in texts if isinstance(text, str)]
    if len(valid) < len(texts):
        raise UserError(f"{path}: row {texts.index(next(t for t in texts if not isinstance(t, str))) + 1} has no text.")
    return valid
