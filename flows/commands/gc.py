"""What takes room and serves nothing any more. Alone: gradus gc

In DVC's cache: what neither the working tree nor any commit names (a pinned run leaves a branch). Among checkpoints:
those of a training that today's files would not go on with. In mlruns: weights of old versions
(flows/promotion/retention.py).
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flows.dag import dvc_lock, graph
from flows.promotion.retention import Weights, remove, superfluous
from pipelines import artifacts
from pipelines.runtime import liveness
from pipelines.runtime.errors import UserError


@dataclass(frozen=True)
class Unneeded:
    """What may go."""

    checkpoints: dict[Path, int]
    """Bytes of each."""
    cached: int
    """Objects in DVC's cache."""
    weights: list[Weights] = field(default_factory=list)
    """Of registered versions without an alias."""

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.checkpoints or self.cached or self.weights)

    def lines(self) -> Iterator[str]:
        """Yield what to tell."""
        for path, size in self.checkpoints.items():
            yield f"{path}: {size / 2**20:.0f} MiB of checkpoints that no run would go on from"
        if self.cached:
            yield f"DVC's cache: {self.cached} objects that neither a commit nor the working tree names"
        for each in self.weights:
            yield f"version {each.version} ({each.model}): {each.size / 2**20:.0f} MiB of weights; its record stays"
        if not self:
            yield "There is nothing to free."


def unneeded(keep: int) -> Unneeded:
    """Look for what may go, the last `keep` versions' weights excepted, and touch nothing."""
    removed = re.search(r"Removed (\d+) objects", _gc("--dry"))
    return Unneeded(
        {path: _size(path) for path in _checkpoints()}, int(removed[1]) if removed else 0, superfluous(keep)
    )


def free(found: Unneeded) -> None:
    """Remove it."""
    for path in found.checkpoints:
        shutil.rmtree(path)
    if found.cached:
        _gc("--force")
    for each in found.weights:
        remove(each)


def _checkpoints() -> Iterator[Path]:
    """Yield the checkpoints whose key is no stage's of today, and which no process uses."""
    changed = dvc_lock.changes(graph.read())
    for path in sorted(artifacts.CHECKPOINTS.glob("*/*")):
        stage = path.parent.name
        if liveness.is_held(liveness.LOCKS / stage):
            continue
        try:
            wanted = stage in changed and dvc_lock.prove(stage).key == path.name
        except UserError:  # what it would read is not there
            wanted = False
        if not wanted:
            yield path


def _gc(*flags: str) -> str:
    command = [sys.executable, "-m", "dvc", "gc", "--workspace", "--all-commits", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"`dvc gc` failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stderr + done.stdout


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in artifacts.files(path))
