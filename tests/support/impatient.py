"""Checkpoints that interrupt a training, for tests of resuming."""

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
