"""Optimiser steps of policy and critic."""

import math
from collections.abc import Iterable, Mapping

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


def step(optimizer: torch.optim.Optimizer, adapter: Iterable[nn.Parameter]) -> float:
    """Clip the gradients, step the optimiser, and reset the gradients; return the norm of the gradients before.

    The optimiser has the weights of `adapter`, and maybe a head, which always has a gradient. A weight that the forward
    pass did not use has none, such as those of a critic's adapter at the output layer.

    Raises:
        RuntimeError: no weight of the adapter has a gradient, since it was not active in the forward pass.
    """
    parameters = optimizer.param_groups[0]["params"]
    if all(weight.grad is None for weight in adapter):
        raise RuntimeError("no weight of the adapter got a gradient; was another one active in the forward pass?")
    norm = nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return float(norm)
