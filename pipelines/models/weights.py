"""Weights on disk: safetensors files, their hash, and the space that saving them takes."""

import hashlib
import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open

from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import track

SHARD = "2GB"
"""Maximum size of a stored file; merging takes the memory of one file (pipelines/models/release/merging.py)."""
_HASH = "weights.sha256"
_AT_ONCE = 2**24  # bytes


def files(directory: Path) -> list[Path]:
    """Return the safetensors files of a stored model, in the order of their names."""
    return sorted(directory.glob("*.safetensors"))


def names(directory: Path) -> set[str]:
    """Return the names of a stored model's weights."""
    found: set[str] = set()
    for path in files(directory):
        with safe_open(path, framework="pt") as stored:
            found |= set(stored.keys())
    return found


def size(directory: Path, precision: torch.dtype) -> int:
    """Return the bytes that a stored model's weights take in `precision`, whatever their present one."""
    values = 0
    for path in files(directory):
        with safe_open(path, framework="pt") as stored:
            values += sum(math.prod(stored.get_slice(name).get_shape()) for name in stored.keys())  # noqa: SIM118
    return values * precision.itemsize


def stored_hash(directory: Path, *facts: object) -> str:
    """Return the SHA-256 of a model's stored weights and of JSON-serialisable `facts`."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode())
    found = files(directory)
    for path in track(found, f"hash of {directory}", len(found)):
        with path.open("rb") as stored:
            while some := stored.read(_AT_ONCE):
                digest.update(some)
    return digest.hexdigest()


def keep_hash(directory: Path) -> None:
    """Store the hash of a whole model beside it: hashing 16 GB takes half a minute, and every later stage needs it."""
    (directory / _HASH).write_text(stored_hash(directory), encoding="utf-8")


def known_hash(directory: Path) -> str:
    """Return the hash of a whole model: the one stored beside it, else computed."""
    kept = directory / _HASH
    return kept.read_text(encoding="utf-8") if kept.exists() else stored_hash(directory)


def require_finite(parameters: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Check the named weights before they are saved, so that a diverged model is never saved.

    Raises:
        UserError: a weight is not finite.
    """
    broken = [name for name, value in parameters if not torch.isfinite(value).all()]
    if broken:
        raise UserError(f"Training ended with NaN in {broken[0]} and {len(broken) - 1} more; lower the learning rate.")


def require_space(directory: Path, needed: int) -> None:
    """Check that the file system of `directory`, which may not exist yet, has `needed` bytes free.

    Raises:
        UserError: it has fewer.
    """
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise UserError(
            f"Saving to {directory} takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; "
            "`gradus gc` removes old weights."
        )
