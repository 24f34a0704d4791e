"""Training in progress, so that a killed one goes on where it was: written whole or not at all.

A checkpoint is a folder `checkpoints/<stage>/<key>/<step>/` of tensors (safetensors) and facts (JSON). The key is a
hash of all that decides the result: another key's checkpoints are never looked at. It is written aside, forced to the
disk and renamed, and the facts hold a digest of the tensors, so that half of one is never taken for a whole.
"""

import hashlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pipelines import artifacts
from pipelines.runtime.progress import say

FACTS, TENSORS = "facts.json", "tensors.safetensors"
ENDINGS = (signal.SIGINT, signal.SIGTERM)
KEPT = 2  # the last one, and one more should the disk have lost part of that

State = tuple[Mapping[str, torch.Tensor], Mapping[str, Any]]
"""Tensors and facts. Facts are JSON."""


@dataclass(frozen=True)
class Saved:
    """A whole checkpoint, as read."""

    step: int
    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]


@dataclass
class Checkpoints:
    """The checkpoints of one training. Without a folder none is kept or found."""

    folder: Path | None = None
    seconds: float = 60.0
    """Between two of them."""
    stopping: bool = False
    last: float = field(default_factory=time.monotonic)

    def latest(self) -> Saved | None:
        """Return the last whole checkpoint, if there is one; say so."""
        for place in reversed(self._places()):
            if (saved := _read(place)) is not None:
                say(f"going on from step {saved.step}, where this very training was interrupted")
                return saved
            say(f"{place} is damaged and is not used")
        return None

    def _places(self) -> list[Path]:
        """Oldest first."""
        if self.folder is None or not self.folder.is_dir():
            return []
        return sorted((each for each in self.folder.iterdir() if each.name.isdigit()), key=lambda each: int(each.name))

    def step(self, number: int, state: Callable[[], State]) -> None:
        """Tell that step `number` is done; keep `state` when it is time to, or before the end.

        Raises:
            KeyboardInterrupt: the process was asked to end.
        """
        if self.folder is not None and (self.stopping or time.monotonic() - self.last >= self.seconds):
            self._write(number, *state())
            self.last = time.monotonic()
        if self.stopping:
            raise KeyboardInterrupt

    def _write(self, number: int, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        assert self.folder is not None
        aside = self.folder / f"{number}.part"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, aside / TENSORS)
        artifacts.write_json(aside / FACTS, {"digest": _digest(aside / TENSORS), "facts": facts})
        for name in (TENSORS, FACTS):
            _force(aside / name)
        place = self.folder / str(number)
        shutil.rmtree(place, ignore_errors=True)
        aside.rename(place)
        _force(self.folder)
        for old in self._places()[:-KEPT]:
            shutil.rmtree(old)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Let a step finish, and keep it, before Ctrl-C or SIGTERM ends the process; twice ends it at once."""
        before = {number: signal.signal(number, self._interrupted) for number in ENDINGS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupted(self, *_: object) -> None:
        if self.stopping:
            raise KeyboardInterrupt
        self.stopping = True


def _read(place: Path) -> Saved | None:
    try:
        known = artifacts.read_json(place / FACTS)
        if known["digest"] != _digest(place / TENSORS):
            return None
        return Saved(int(place.name), load_file(place / TENSORS), known["facts"])
    except (OSError, ValueError, KeyError):
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _force(path: Path) -> None:
    """Force a file or a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def pack(weights: Mapping[str, torch.Tensor], *optimizers: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return `weights`, what `optimizers` know of theirs, and the state of torch's generators, as flat tensors."""
    tensors = {f"weight/{name}": weight for name, weight in weights.items()}
    for number, optimizer in enumerate(optimizers):
        for index, known in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer{number}/{index}/{key}": value for key, value in known.items()}
    tensors["generator/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["generator/cuda"] = torch.cuda.get_rng_state()
    return tensors


def unpack(
    tensors: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], *optimizers: torch.optim.Optimizer
) -> None:
    """Put back, in place, the weights and the optimisers' states that `pack` returned."""
    for name, weight in weights.items():
        weight.data.copy_(tensors[f"weight/{name}"])
    for number, optimizer in enumerate(optimizers):
        states: dict[int, dict[str, torch.Tensor]] = {}
        for entry in (name for name in tensors if name.startswith(f"optimizer{number}/")):
            _, index, key = entry.split("/")
            states.setdefault(int(index), {})[key] = tensors[entry]
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})


def restore_generators(tensors: Mapping[str, torch.Tensor]) -> None:
    """Put torch's generators where they were when `pack` was called."""
    torch.set_rng_state(tensors["generator/cpu"])
    if "generator/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["generator/cuda"])
