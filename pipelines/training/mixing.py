"""Which texts an epoch reads, of several sources, each by its weight: a function of weights, seed and epoch alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines import artifacts
from pipelines.errors import UserError

CORPUS = "corpus"
_KINDS = (".jsonl", ".parquet", ".txt")


@dataclass(frozen=True)
class Source:
    """Texts that are read equally often: `weight` times in an epoch, its fraction by chance."""

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
        UserError: a source has no weight, a weight or a share has no source, or a row has no text.
    """
    files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in _KINDS}
    names = {CORPUS, *files}
    for key, given in (("weights", weights), ("fill_in_middle", middle)):
        if unknown := sorted(given.keys() - names):
            raise UserError(f"pretrain.{key} names {unknown[0]!r}; there are {', '.join(sorted(names))} ({folder}).")
    if missing := sorted(names - weights.keys()):
        raise UserError(f"pretrain.weights does not say how often to read {missing[0]!r} ({folder}); 0 leaves it out.")
    texts = {CORPUS: corpus} | {name: _texts(path) for name, path in files.items()}
    return [Source(name, texts[name], weights[name], middle.get(name, 0.0)) for name in sorted(names)]


def drawn(found: Sequence[Source], seed: int, epoch: int) -> list[tuple[str, bool]]:
    """Return the texts of an epoch, each with whether its middle is read last."""
    rng = np.random.default_rng([seed, epoch])
    chosen: list[tuple[str, bool]] = []
    for source in found:
        counts = np.floor(source.weight + rng.random(len(source.texts))).astype(int)
        middles = rng.random(int(counts.sum())) < source.middle
        repeated = (text for text, count in zip(source.texts, counts.tolist(), strict=True) for _ in range(count))
        chosen += zip(repeated, middles.tolist(), strict=True)
    return chosen


def _texts(path: Path) -> list[str]:
    if path.suffix == ".txt":
        return [path.read_text(encoding="utf-8")]
    rows = artifacts.read_rows(path) if path.suffix == ".jsonl" else artifacts.read_table(path)
    texts = [row.get("text") for row in rows]
    found = [text for text in texts if isinstance(text, str)]
    if len(found) < len(texts):
        raise UserError(f"{path}: row {texts.index(next(t for t in texts if not isinstance(t, str))) + 1} has no text.")
    return found
