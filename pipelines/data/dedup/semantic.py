"""Documents that say the same in other words: their embeddings are neighbours.

SemDeDup (Abbas et al. 2023, arXiv:2303.09540). A static model (model2vec) embeds thousands of documents a second on a
CPU, and usearch finds their neighbours; both come with gradus[semantic].
"""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.data import documents
from pipelines.data.dedup.jaccard import Pairs
from pipelines.data.executor import Executor
from pipelines.runtime.errors import UserError

Vectors = npt.NDArray[np.float32]

_NEIGHBOURS = 16  # that one document is paired with; of many the others are its neighbours' neighbours
_FEW = 8  # shards that are sooner embedded than processes started


def pairs(shards: Sequence[Path], model: str, similarity: float, runner: Executor) -> Pairs:
    """Return the pairs (m, 2) of documents whose embeddings have a cosine of at least `similarity`, the lower first.

    `model` is a folder, or hf:ORG/NAME@REVISION.

    Raises:
        UserError: the model or the libraries are not there.
    """
    folder = _folder(model)
    _loaded(folder)
    return neighbours(
        np.concatenate(list(runner.over(partial(vectors, folder=folder), shards, "embedding", _FEW))), similarity
    )


def vectors(shard: Path, folder: Path) -> Vectors:
    """Return the unit vectors (documents, width) of a shard; a text without a known word has none and gets zeros."""
    texts = documents.columns([shard], ["text"]).column("text").to_pylist()
    embedded = _loaded(folder).encode(texts, max_length=None, normalize=False, use_multiprocessing=False)
    lengths = np.linalg.norm(embedded, axis=1, keepdims=True)
    found: Vectors = (embedded / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return found


def neighbours(found: Vectors, similarity: float) -> Pairs:
    """Return the pairs of rows whose cosine is at least `similarity`, the lower first.

    The index is made by one thread: what several make is another one each time.
    """
    from usearch.index import Index

    told = np.flatnonzero(found.any(axis=1))
    if len(told) < 2:
        return np.empty((0, 2), dtype=np.int64)
    index = Index(ndim=found.shape[1], metric="cos", dtype="f32")
    index.add(told, found[told], threads=1)
    matches: Any = index.search(found[told], min(_NEIGHBOURS, len(told)))
    near = (1 - matches.distances >= similarity) & (np.arange(matches.keys.shape[1]) < matches.counts[:, None])
    rows, places = np.nonzero(near)
    both = np.sort(np.stack([told[rows], matches.keys[rows, places].astype(np.int64)], axis=1), axis=1)
    apart: Pairs = np.unique(both[both[:, 0] < both[:, 1]], axis=0)
    return apart


def _folder(model: str) -> Path:
    """Return where a model lies; one of the hub is fetched, as it was at its revision."""
    kind, _, name = model.partition(":")
    if kind != "hf":
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or "main"))
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError) as error:
        raise UserError(f"dedup.semantic.model {model!r} cannot be fetched: {str(error).splitlines()[0]}") from error


@cache
def _loaded(folder: Path) -> Any:
    try:
        import usearch  # noqa: F401
        from model2vec import StaticModel
    except ImportError as error:
        raise UserError(
            "dedup.semantic is set, and its libraries are missing; pip install 'gradus[semantic]'."
        ) from error
    if not list(folder.glob("*.safetensors")):
        raise UserError(
            f"dedup.semantic.model: there is no model in {folder}; name a model2vec folder with safetensors."
        )
    return StaticModel.from_pretrained(folder, force_download=False)
