"""Checkpoints that stop the training, for what must go on as if it had never been stopped."""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.training.checkpoints import Checkpoints, State


@dataclass
class Impatient(Checkpoints):
    """Asks to stop after `patience` steps, as Ctrl-C does."""

    patience: int = 1
    taken: int = 0

    def step(self, number: int, state: Callable[[], State]) -> None:
        """Count one step."""
        self.taken += 1
        self.stopping = self.taken >= self.patience
        super().step(number, state)
