"""Garbage collection of unused files. Standalone: gradus gc

Removes objects in DVC's cache that neither the working tree nor a commit refers to (a run at a commit leaves a branch),
checkpoints that no training would resume from, and weights of old versions in mlruns/ (flows/promotion/retention.py).
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flows.dag import dvc_lock, graph, staleness
from flows.dag.worktree import IN_USE
from flows.promotion.retention import Weights, removable_weights, remove
from pipelines import artifacts
from pipelines.runtime import liveness
from pipelines.runtime.errors import UserError

ALL = ("--all-commits", "--all-experiments")
"""What the cache is kept for, beside the working tree: the user's DVC experiments are in no branch."""


@dataclass(frozen=True)
class Unneeded:
    """Files that can be removed."""

    checkpoints: dict[Path, int]
    """Path and size in bytes."""
    cached: int
    """Number of objects in DVC's cache."""
    weights: list[Weights] = field(default_factory=list)
    """Weights of registered versions without an alias."""

    def __bool__(self) -> bool:
        """Return whether there is anything to remove."""
        return bool(self.checkpoints or self.cached or self.weights)

    def lines(self) -> Iterator[str]:
        """Yield one line of description per item."""
        for path, size in self.checkpoints.items():
            yield f"{path}: {size / 2**20:.0f} MiB of checkpoints that no run would resume from"
        if self.cached:
            yield f"DVC's cache: {self.cached} objects that neither a commit nor the working tree refers to"
        for each in self.weights:
            yield f"version {each.version} ({each.model}): {each.size / 2**20:.0f} MiB of weights; its record is kept"
        if not self:
            yield "There is nothing to remove."


@contextmanager
def without_runs() -> Iterator[None]:
    """Keep runs from starting, here and in worktrees, because nothing refers to the results of one in progress yet.

    Raises:
        InProgressError: a run is in progress, here or in a worktree, which shares the cache and the checkpoints.
    """
    with liveness.exclusive("post_train"), liveness.exclusive(IN_USE):
        yield


def unneeded(keep: int) -> Unneeded:
    """Find files that can be removed, except the weights of the last `keep` versions, without removing them."""
    removed = re.search(r"Removed (\d+) objects", _gc("--dry"))
    return Unneeded(
        {path: _size(path) for path in _checkpoints()}, int(removed[1]) if removed else 0, removable_weights(keep)
    )


def free(garbage: Unneeded) -> None:
    """Remove the files."""
    for path in garbage.checkpoints:
        liveness.remove_unless_held(path)
    if garbage.cached:
        _gc("--force")
    for each in garbage.weights:
        remove(each)


def _checkpoints() -> Iterator[Path]:
    """Yield checkpoints that match no present stage key and are not in use."""
    changed = staleness.changes(graph.read())
    for path in sorted(artifacts.CHECKPOINTS.glob("*/*")):
        stage = path.parent.name
        if not path.is_dir() or liveness.is_held(liveness.LOCKS / stage):  # a file is a lock beside its folder
            continue
        try:
            wanted = stage in changed and dvc_lock.prove(stage).key == path.name
        except UserError:  # an input is missing
            wanted = False
        if not wanted:
            yield path


def _gc(*flags: str) -> str:
    command = [sys.executable, "-m", "dvc", "gc", "--workspace", *ALL, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"`dvc gc` failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stderr + done.stdout


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in artifacts.files(path))
