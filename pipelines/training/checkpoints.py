"""Atomic checkpoints, from which an interrupted training resumes.

A checkpoint is a folder `checkpoints/<stage>/<key>/<step>/` of tensors (safetensors) and facts (JSON). The key hashes
all inputs that determine the result, so checkpoints of other inputs are never used. A checkpoint is written to a
temporary folder, synced (fsync) and renamed, and the facts contain a digest of the tensors, so that a partial
checkpoint is detected. The last two are kept, and those that are needed at the end: of the best validation, and of the
end of the stable phase of WSD.
"""

import hashlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from pipelines import artifacts
from pipelines.models.parallel.sharding import full, sharded_like
from pipelines.runtime import environment
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.training import optimizers

FACTS, TENSORS = "facts.json", "tensors.safetensors"
ENDINGS = (signal.SIGINT, signal.SIGTERM)
QUICK = 3.0  # seconds to write a checkpoint; those that take longer are written less often
KEPT = 2  # the last checkpoint, and the one before it in case the last is damaged

State = tuple[Mapping[str, torch.Tensor], Mapping[str, Any]]
"""Tensors and facts (JSON)."""


@dataclass(frozen=True)
class Saved:
    """A complete checkpoint, as read."""

    step: int
    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]


@dataclass
class Checkpoints:
    """Checkpoints of one training; without a folder none is found, and those to keep are in memory.

    Of several processes, rank 0 writes, and all read the same checkpoint and stop after the same step.
    """

    folder: Path | None = None
    seconds: float = 60.0
    """Minimum seconds between two checkpoints, of which writing one may take a twentieth (`QUICK`); else more."""
    stopping: bool = False
    last: float = field(default_factory=time.monotonic)
    took: float = 0.0
    """Seconds that the last checkpoint took to write."""
    memory: dict[int, Saved] = field(default_factory=dict)
    """The kept checkpoints of a training without a folder."""

    def latest(self) -> Saved | None:
        """Return the last complete checkpoint, if any, and report it."""
        for place in reversed(self.places()):
            if (saved := read(place)) is not None:
                say(f"resuming from step {saved.step}, where this training was interrupted")
                return saved
            say(f"{place} is damaged and is ignored")
        return None

    def places(self) -> list[Path]:
        """Return the checkpoint folders, oldest first."""
        if self.folder is None or not self.folder.is_dir():
            return []
        return sorted((each for each in self.folder.iterdir() if each.name.isdigit()), key=lambda each: int(each.name))

    def step(self, number: int, state: Callable[[], State], keep: Collection[int] = ()) -> None:
        """Finish step `number`; write a checkpoint of `state` if one is due, or the process is stopping.

        The steps in `keep` get a checkpoint that is not removed; `number` may be one of them.

        Raises:
            KeyboardInterrupt: the process was asked to stop.
        """
        interval = self.seconds * max(1.0, self.took / QUICK)
        late = self.folder is not None and time.monotonic() - self.last >= interval
        stopping, due = _agreed(self.stopping, late)
        if number in keep or due or (stopping and self.folder is not None):
            begun, (tensors, facts) = time.monotonic(), state()
            if environment.rank() == 0:
                self._write(number, tensors, facts, keep)
            if dist.is_initialized():
                dist.barrier()
            self.last = time.monotonic()
            self.took = self.last - begun
        if stopping:
            self.stopping = True
            raise KeyboardInterrupt

    def _write(
        self, number: int, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any], keep: Collection[int]
    ) -> None:
        if self.folder is None:
            copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
            self.memory = {step: saved for step, saved in self.memory.items() if step in keep}
            self.memory[number] = Saved(number, copies, dict(facts))
            return
        write(self.folder / str(number), number, tensors, facts)
        for old in self.places()[:-KEPT]:
            if int(old.name) not in keep:
                shutil.rmtree(old)

    def kept(self, number: int) -> Saved:
        """Return the checkpoint of step `number`, which was in `keep`.

        Raises:
            UserError: it is damaged.
        """
        if self.folder is None:
            return self.memory[number]
        saved = read(self.folder / str(number))
        if saved is None:
            raise UserError(
                f"The checkpoint {self.folder / str(number)} is damaged; remove {self.folder}, and run again."
            )
        return saved

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """On Ctrl-C or SIGTERM, finish the step and save it before exiting; a second signal exits immediately.

        One of several processes ignores later signals: it stops when the first of them gets the signal, and its own
        would arrive while it ends its MLflow run.
        """
        before = {number: signal.signal(number, self._interrupted) for number in ENDINGS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if self.stopping and dist.is_initialized() else handler)

    def _interrupted(self, *_: object) -> None:
        if self.stopping and not dist.is_initialized():
            raise KeyboardInterrupt
        self.stopping = True


def _agreed(stopping: bool, late: bool) -> tuple[bool, bool]:
    """Return whether any process of this training is stopping, and whether rank 0 is late with a checkpoint."""
    if not dist.is_initialized():
        return stopping, late
    flags = [(stopping, late)] * dist.get_world_size()
    dist.all_gather_object(flags, (stopping, late))
    return any(each for each, _ in flags), flags[0][1]


def write(place: Path, number: int, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write the checkpoint of step `number` to the folder `place`, completely or not at all."""
    partial = place.with_name(f"{place.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, partial / TENSORS)
    artifacts.write_json(partial / FACTS, {"digest": _digest(partial / TENSORS), "step": number, "facts": facts})
    for name in (TENSORS, FACTS):
        _sync(partial / name)
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    _sync(place.parent)


def read(place: Path) -> Saved | None:
    """Read the checkpoint in the folder `place`; None if it is missing or damaged."""
    try:
        content = artifacts.read_json(place / FACTS)
        if content["digest"] != _digest(place / TENSORS):
            return None
        return Saved(content["step"], load_file(place / TENSORS), content["facts"])
    except (OSError, ValueError, KeyError):
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Sync a file or a folder's entries to disk (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def pack(weights: Mapping[str, torch.Tensor], *managed: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return `weights`, the states of their optimizers and of torch's random generators as flat tensors.

    Those of sharded weights are gathered in rank 0.
    """
    tensors = {f"weight/{name}": full(weight) for name, weight in weights.items()}
    for number, optimizer in enumerate(managed):
        for place, value in optimizers.states(optimizer, weights).items():
            kind = "optimizer" if isinstance(value, torch.Tensor) else "number"
            tensors[f"{kind}{number}/{place}"] = full(torch.as_tensor(value))
    tensors["generator/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["generator/cuda"] = torch.cuda.get_rng_state()
    return tensors


def unpack(
    tensors: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], *managed: torch.optim.Optimizer
) -> None:
    """Restore in place the weights and optimizer states that `pack` returned."""
    for name, weight in weights.items():
        weight.data.copy_(sharded_like(tensors[f"weight/{name}"], weight))
    for number, optimizer in enumerate(managed):
        states: dict[str, torch.Tensor | float] = {}
        for entry, value in tensors.items():
            kind, _, place = entry.partition("/")
            if kind in (f"optimizer{number}", f"number{number}"):
                states[place] = value if kind.startswith("optimizer") else value.item()
        optimizers.restore(optimizer, weights, states)


def restore_generators(tensors: Mapping[str, torch.Tensor]) -> None:
    """Restore torch's random generators to their state when `pack` was called."""
    torch.set_rng_state(tensors["generator/cpu"])
    if "generator/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["generator/cuda"])
