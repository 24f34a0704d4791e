"""Optimiser steps of policy and critic."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipelines.runtime.errors import UserError

GRADIENT_NORM = 1.0
ADAM_EPS = 1e-5  # PyTorch's 1e-8 amplifies the noise of the first steps (Huang et al. 2024)


def adam(weights: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """Return an optimiser of `weights`."""
    return torch.optim.Adam(list(weights.values()), eps=ADAM_EPS)


def backward(loss: Tensor, rate: str) -> float:
    """Add the gradients of `loss` and return its value; the parameter `rate` is the learning rate.

    Raises:
        UserError: the loss is NaN or infinite.
    """
    value = float(loss.detach())
    if not math.isfinite(value):
        raise UserError(f"The loss became {value}; lower {rate} in params.yaml.")
    loss.backward()  # type: ignore[no-untyped-call]
    return value


def step(optimizer: torch.optim.Optimizer) -> None:
    """Clip the gradients, step the optimiser, and reset the gradients.

    A parameter that the forward pass did not use has no gradient, such as a critic's adapter of the output layer.

    Raises:
        RuntimeError: none has a gradient, since their adapter was not active in the forward pass.
    """
    parameters = optimizer.param_groups[0]["params"]
    if all(parameter.grad is None for parameter in parameters):
        raise RuntimeError("no trained parameter got a gradient; was another adapter active in the forward pass?")
    nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
    optimizer.step()
    optimizer.zero_grad()
