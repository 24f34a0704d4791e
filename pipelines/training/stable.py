"""Warm-up–stable–decay (WSD): the state at the end of the stable phase, from which a later run goes on with more data.

The decay lowers the loss and ends a training: going on from its weights takes another warm-up, which undoes it. The
weights and optimizer states before the decay are trained on at the same learning rate, without a warm-up, as if the
phase had not ended, and decayed again (Hu et al. 2024, arXiv:2404.06395; Hägele et al. 2024, arXiv:2405.18392).
`artifacts/<stage>/stable/` is such a state, in the format of a checkpoint; a copy of it is the input of the later run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.models import adapters
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import FACTS, Saved, read, write
from pipelines.training.config import PretrainConfig, SFTConfig, TrainingConfig

FOLDER = "stable"


@dataclass(frozen=True)
class StablePhase:
    """Where a WSD training goes on from, and where the state at the end of its stable phase is stored."""

    out: Path
    trained: dict[str, Any]
    """What the tensors of a state depend on: base model, adapter and optimizer."""
    start: Saved | None

    def store(self, state: Saved) -> None:
        """Store a checkpoint's weights and optimizer states."""
        tensors = {name: value for name, value in state.tensors.items() if not name.startswith("generator/")}
        write(self.out, state.step, tensors, self.trained)


def stable_phase(
    what: str, start: Path, out: Path, config: SFTConfig | PretrainConfig, training: TrainingConfig
) -> StablePhase | None:
    """Return the stable phase of the training `what` on the model in `start`; None for another schedule than WSD.

    Raises:
        UserError: the state in `continue_from` is damaged, belongs to another model, adapter, optimizer or schedule, or
            the method chooses parameters by the training rows.
    """
    folder, saved = config.continue_from, None
    given = (folder / FACTS).exists()
    if training.schedule != "wsd":
        if given:
            raise UserError(
                f"{what}.continue_from, {folder}, has the state of a stable phase, and training.schedule is "
                f"{training.schedule}; set it to wsd, or empty the folder."
            )
        return None
    if given and config.tuning.by_rows:
        raise UserError(
            f"{what}.tuning {config.tuning.method} chooses what it trains by the training rows, and the state in "
            f"{folder}, {what}.continue_from, had other rows; use another method or init_lora_weights, or empty the "
            "folder."
        )
    tuning = config.tuning.model_dump(mode="json")
    trained = {"base model": adapters.identity(start), "tuning": tuning, "optimizer": training.optimizer}
    if given:
        saved = read(folder)
        if saved is None:
            raise UserError(
                f"The state in {folder} is damaged; copy artifacts/{what}/{FOLDER} again, or empty the folder."
            )
        if other := [name for name, value in trained.items() if saved.facts.get(name) != value]:
            raise UserError(
                f"The state in {folder} was trained with another {other[0]}: {saved.facts.get(other[0])}, now "
                f"{trained[other[0]]}; restore it, or empty the folder."
            )
    return StablePhase(out / FOLDER, trained, saved)
