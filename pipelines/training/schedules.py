"""Learning rate schedules: a linear warm-up, then linear or cosine decay to zero, no decay, or a late decay (WSD)."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_scheduler

from pipelines.training.config import Schedule

_NAMES: dict[Schedule, str] = {
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant_with_warmup",
    "wsd": "warmup_stable_decay",
}


def create(kind: Schedule, optimizer: Optimizer, steps: int, warmup: float, decay: float) -> LambdaLR:
    """Return a schedule over `steps` optimizer steps; the learning rate of `optimizer` is its peak.

    `warmup` is the share of the steps with a rising rate, at least one step unless it is 0, and never all steps: the
    rate of the first warm-up step is 0, so a training of one step would learn nothing. `decay` is the share of the last
    steps in which `wsd` (warm-up, stable, decay) falls to zero as 1 - sqrt (Hägele et al. 2024, arXiv:2405.18392); the
    other schedules ignore it.
    """
    rising = min(steps - 1, max(1, int(warmup * steps + 1e-9))) if warmup else 0
    options = {"num_decay_steps": max(1, round(decay * steps)), "decay_type": "1-sqrt"} if kind == "wsd" else None
    schedule: LambdaLR = get_scheduler(_NAMES[kind], optimizer, rising, steps, scheduler_specific_kwargs=options)
    return schedule


def stable_steps(kind: Schedule, steps: int, decay: float) -> int | None:
    """Return the number of steps before the decay of `wsd`; None for other schedules, or if all steps decay."""
    before = steps - max(1, round(decay * steps))
    return before if kind == "wsd" and before > 0 else None
