"""One training step, to compare its loss and gradients with those of TRL's trainers."""

import peft
import pytest
import torch

from pipelines.training.checkpoints import Checkpoints
from pipelines.training.step import Job, Objective, accumulate, averaged
from tests.support.recorder import Recorder
from tests.support.trainings import COMPUTE, training

COMMON = {
    "bf16": False,
    "use_cpu": True,
    "gradient_checkpointing": False,
    "report_to": "none",
    "max_length": None,
    "disable_tqdm": True,
}
"""Arguments of every trainer."""


def step(model: peft.PeftModel, objective: Objective, items: list[int]) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the loss and the gradients of one step in micro-batches of at most 100 tokens."""
    job = Job("sft", 1e-3, 1, training(), COMPUTE, Recorder(), Checkpoints())
    parameters = [value for value in model.parameters() if value.requires_grad]
    sums, _ = accumulate(model, parameters, objective, items, 100, job)
    return averaged(parameters, sums, float("inf"), job, 1)["loss"], gradients(model)


def gradients(model: peft.PeftModel) -> dict[str, torch.Tensor]:
    """Return and remove the gradients of the adapter "default"."""
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    return found


def assert_equal(ours: tuple[float, dict[str, torch.Tensor]], loss: torch.Tensor, model: peft.PeftModel) -> None:
    """Compare the loss and the gradients of a step with TRL's."""
    loss.backward()
    theirs = gradients(model)
    assert ours[0] == pytest.approx(float(loss), abs=1e-5)
    assert ours[1].keys() == theirs.keys() and len(theirs) > 20
    for name, value in theirs.items():
        torch.testing.assert_close(ours[1][name], value, atol=1e-5, rtol=1e-4)
