"""Semantic deduplication: nearest neighbours of document embeddings (SemDeDup, Abbas et al. 2023, arXiv:2303.09540).

A static model (model2vec) embeds thousands of documents per second on a CPU, and usearch finds their neighbours. Both
are installed by gradus[semantic].
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

_NEIGHBOURS = 16  # per document; larger groups are connected through neighbours of neighbours
_FEW = 8  # shards; embedding fewer is faster than starting processes


def pairs(shards: Sequence[Path], model: str, similarity: float, runner: Executor) -> Pairs:
    """Return the pairs (m, 2) of documents with a cosine similarity of at least `similarity`, the lower number first.

    `model` is a folder, or hf:ORG/NAME@REVISION.

    Raises:
        UserError: the model or the libraries are missing.
    """
    folder = _folder(model)
    _loaded(folder)
    return neighbours(
        np.concatenate(list(runner.over(partial(vectors, folder=folder), shards, "embedding", _FEW))), similarity
    )


def vectors(shard: Path, folder: Path) -> Vectors:
    """Return the unit vectors (documents, width) of a shard; a text without known words gets a zero vector."""
    texts = documents.columns([shard], ["text"]).column("text").to_pylist()
    embedded = _loaded(folder).encode(texts, max_length=None, normalize=False, use_multiprocessing=False)
    lengths = np.linalg.norm(embedded, axis=1, keepdims=True)
    normalized: Vectors = (embedded / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return normalized


def neighbours(embeddings: Vectors, similarity: float) -> Pairs:
    """Return the pairs of rows with a cosine similarity of at least `similarity`, the lower number first.

    The index is built by one thread, because a multi-threaded build is not deterministic.
    """
    from usearch.index import Index

    nonzero = np.flatnonzero(embeddings.any(axis=1))
    if len(nonzero) < 2:
        return np.empty((0, 2), dtype=np.int64)
    index = Index(ndim=embeddings.shape[1], metric="cos", dtype="f32")
    index.add(nonzero, embeddings[nonzero], threads=1)
    matches: Any = index.search(embeddings[nonzero], min(_NEIGHBOURS, len(nonzero)))
    similar = (1 - matches.distances >= similarity) & (np.arange(matches.keys.shape[1]) < matches.counts[:, None])
    rows, places = np.nonzero(similar)
    both = np.sort(np.stack([nonzero[rows], matches.keys[rows, places].astype(np.int64)], axis=1), axis=1)
    distinct: Pairs = np.unique(both[both[:, 0] < both[:, 1]], axis=0)
    return distinct


def _folder(model: str) -> Path:
    """Return the folder of a model; a model of the Hugging Face Hub is downloaded at its revision."""
    kind, _, name = model.partition(":")
    if kind != "hf":
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or "main"))
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError) as error:
        raise UserError(f"dedup.semantic.model {model!r} cannot be downloaded: {str(error).splitlines()[0]}") from error


@cache
def _loaded(folder: Path) -> Any:
    try:
        import usearch  # noqa: F401
        from model2vec import StaticModel
    except ImportError as error:
        raise UserError(
            "dedup.semantic is set, but its libraries are missing; run pip install 'gradus[semantic]'."
        ) from error
    if not list(folder.glob("*.safetensors")):
        raise UserError(
            f"dedup.semantic.model: there is no model in {folder}; name a model2vec folder with safetensors."
        )
    return StaticModel.from_pretrained(folder, force_download=False)
