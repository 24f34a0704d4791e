"""Semantic similarity of questions by sentence embeddings with smooth inverse frequency (SIF).

SIF (Arora, Liang and Ma 2017, "A simple but tough-to-beat baseline for sentence embeddings"): a text's vector is the
mean of its token embeddings, weighted by a / (a + frequency), minus the projection on the first principal component.
Token embeddings are the base model's input embeddings, so that no other model is needed.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import PreTrainedTokenizerBase

Vectors = NDArray[np.float32]

_A = 1e-3  # a, as in the paper
_EMBEDDINGS = ("model.embed_tokens.weight", "transformer.wte.weight")


def embeddings(base: Path) -> Vectors:
    """Return the input embeddings (tokens, width) of the model in `base`."""
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  # safe_open is not a mapping
                if name.endswith(_EMBEDDINGS):
                    found: Vectors = file.get_tensor(name).to(torch.float32).numpy()
                    return found
    raise ValueError(f"{base} has no input embeddings under {' or '.join(_EMBEDDINGS)}")


def meanings(texts: Sequence[str], tok: PreTrainedTokenizerBase, embedded: Vectors) -> Vectors:
    """Return the unit-length sentence embedding of each text, (texts, width); frequencies are computed over `texts`."""
    if not texts:
        return np.zeros((0, embedded.shape[1]), np.float32)
    ids = tok(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    counts = np.bincount(np.concatenate([np.asarray(each, dtype=np.int64) for each in ids]), minlength=len(embedded))
    weights = (_A / (_A + counts / counts.sum())).astype(np.float32)
    vectors = np.stack([weights[each] @ embedded[each] / max(1, len(each)) for each in ids])
    common = np.linalg.svd(vectors, full_matrices=False)[2][:1]
    vectors = vectors - vectors @ common.T @ common if len(texts) > 1 else vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit
