"""Optimizers of the training loop, and their states as flat tensors, which a checkpoint holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import bitsandbytes.optim
import torch
from torch.distributed.tensor import DTensor

from pipelines.models.memory import MASTER, OPTIMIZERS
from pipelines.models.parallel import sharding
from pipelines.runtime.errors import UserError
from pipelines.training.config import Optimizer


def create(kind: Optimizer, groups: Sequence[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
    """Return the optimizer `kind` over groups of weights with their learning rates, which are all on one device.

    Weight decay applies to matrices, not to gains of norms and biases, as in transformers' Trainer.

    AdamW (Loshchilov and Hutter 2019) keeps 8 bytes of state per weight; it is fused also on a CPU, where a step of ten
    million weights takes 51 ms instead of 257 ms with `foreach`. Its 8-bit variants keep 2 bytes (Dettmers et al. 2022,
    arXiv:2110.02861); the paged one moves them to CPU memory when the GPU is full. Adafactor (Shazeer and Stern 2018)
    keeps a row and a column of second moments per matrix. The published learning rate is relative to the RMS of the
    weight, of which LoRA's B, zero at first, would get a thousandth: in 60 steps the loss fell from 6.42 to 6.40, with
    AdamW to 5.17. Here it is absolute for weights whose RMS is at most 1.

    Raises:
        UserError: the optimizer needs a GPU and the weights are on a CPU.
    """
    check(kind, groups[0]["params"][0].device)
    groups = [
        {**group, "params": alike, "weight_decay": decay}
        for group in groups
        for decay, weights in _by_decay(group["params"], weight_decay)
        for alike in sharding.separated(weights)
    ]
    if kind == "adamw":
        return torch.optim.AdamW(groups, fused=True)
    if kind == "adafactor":
        return torch.optim.Adafactor(groups, eps=(None, 1.0))
    eight_bit = {"adamw_8bit": bitsandbytes.optim.AdamW8bit, "paged_adamw_8bit": bitsandbytes.optim.PagedAdamW8bit}
    optimizer: torch.optim.Optimizer = eight_bit[kind](groups)
    return optimizer


def _by_decay(weights: list[torch.Tensor], weight_decay: float) -> list[tuple[float, list[torch.Tensor]]]:
    """Return matrices with `weight_decay` and vectors with none; all weights together if there is no decay."""
    if not weight_decay:
        return [(0.0, weights)]
    matrices, vectors = ([each for each in weights if (each.ndim > 1) == wanted] for wanted in (True, False))
    return [(decay, alike) for decay, alike in ((weight_decay, matrices), (0.0, vectors)) if alike]


def check(kind: Optimizer, device: torch.device) -> None:
    """Check that the optimizer `kind` works on the device.

    Raises:
        UserError: it needs a GPU.
    """
    if "8bit" in kind and device.type != "cuda":
        raise UserError(
            f"training.optimizer is '{kind}', which needs a GPU (on a CPU a step of ten million weights takes a "
            "minute), and training runs on a CPU here; set it to adamw or adafactor."
        )


def unallocated(kind: Optimizer, *managed: torch.optim.Optimizer) -> int:
    """Return the bytes that gradients and states of optimizers of a `kind` will take on this device, but do not yet."""
    needed = 0.0
    for optimizer in managed:
        for weight in (weight for group in optimizer.param_groups for weight in group["params"]):
            own = weight.to_local() if isinstance(weight, DTensor) else weight
            missing = MASTER * (weight.grad is None) + OPTIMIZERS[kind] * (weight not in optimizer.state)
            needed += missing * own.numel()
    return int(needed)


def states(optimizer: torch.optim.Optimizer, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor | float]:
    """Return the states of all weights as `<name of the weight>/<key>`; their order differs when some are sharded.

    bitsandbytes wraps quantised states in inner mappings, and all share one tensor of each quantisation map, of which
    each state gets a copy: safetensors refuses shared memory.
    """
    names, flat = _names(optimizer, weights), {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            for inner, part in value.items() if isinstance(value, Mapping) else ((key, value),):
                flat[f"{names[index]}/{inner}"] = part.clone() if inner.startswith("qmap") else part
    return flat


def restore(
    optimizer: torch.optim.Optimizer,
    weights: Mapping[str, torch.Tensor],
    flat: Mapping[str, torch.Tensor | float],
) -> None:
    """Restore what `states` returned; the states of sharded weights are sharded alike."""
    places = {name: index for index, name in enumerate(_names(optimizer, weights))}
    found: dict[int, dict[str, torch.Tensor | float]] = {}
    for entry, value in flat.items():
        name, _, key = entry.rpartition("/")
        alike = sharding.sharded_like(value, weights[name]) if isinstance(value, torch.Tensor) else value
        found.setdefault(places[name], {})[key] = alike
    optimizer.load_state_dict({**optimizer.state_dict(), "state": found})


def _names(optimizer: torch.optim.Optimizer, weights: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the names of the optimizer's weights, in the order of their indices in its `state_dict`."""
    names = {id(weight): name for name, weight in weights.items()}
    return [names[id(weight)] for group in optimizer.param_groups for weight in group["params"]]
