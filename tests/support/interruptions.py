"""Checkpoints that interrupt a training, for tests of resuming."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pipelines.training.checkpoints import Checkpoints, State


@dataclass
class Impatient(Checkpoints):
    """Checkpoints that stop after `patience` steps, as Ctrl-C does."""

    patience: int = 1
    taken: int = 0

    def step(self, number: int, state: Callable[[], State], keep: Collection[int] = ()) -> None:
        """Count a step, and stop when the limit is reached."""
        self.taken += 1
        self.stopping = self.taken >= self.patience
        super().step(number, state, keep)


@dataclass
class Fatal(Checkpoints):
    """Checkpoints of every step, of which the `patience`-th ends the process with SIGKILL."""

    seconds: float = 0.0
    patience: int = 1
    taken: int = 0

    def step(self, number: int, state: Callable[[], State], keep: Collection[int] = ()) -> None:
        """Write the checkpoint of a step, and end the process when the limit is reached."""
        super().step(number, state, keep)
        self.taken += 1
        if self.taken == self.patience:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(training: Callable[[], object]) -> None:
    """Run a training with `Fatal` checkpoints in a forked process, which has all imports and one thread."""
    process = multiprocessing.get_context("fork").Process(target=training, daemon=True)
    process.start()
    process.join(300)  # a fork may inherit a locked lock
    assert process.exitcode == -signal.SIGKILL
