"""Optimizers of the training loop."""

from collections.abc import Sequence
from typing import Any

import bitsandbytes.optim
import torch

from pipelines.models.parallel import sharding
from pipelines.runtime.errors import UserError
from pipelines.training.config import Optimizer


def create(kind: Optimizer, groups: Sequence[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
    """Return the optimizer `kind` over groups of weights with their learning rates, which are all on one device.

    AdamW (Loshchilov and Hutter 2019) keeps 8 bytes of state per weight; it is fused also on a CPU, where a step of ten
    million weights takes 51 ms instead of 257 ms with `foreach`. Its 8-bit variants keep 2 bytes (Dettmers et al. 2022,
    arXiv:2110.02861); the paged one moves them to CPU memory when the GPU is full. Adafactor (Shazeer and Stern 2018)
    keeps a row and a column of second moments per matrix.

    Raises:
        UserError: the optimizer needs a GPU and the weights are on a CPU.
    """
    check(kind, groups[0]["params"][0].device)
    groups = [{**group, "params": alike} for group in groups for alike in sharding.separated(group["params"])]
    if kind == "adamw":
        return torch.optim.AdamW(groups, weight_decay=weight_decay, fused=True)
    if kind == "adafactor":
        return torch.optim.Adafactor(groups, weight_decay=weight_decay)
    eight_bit = {"adamw_8bit": bitsandbytes.optim.AdamW8bit, "paged_adamw_8bit": bitsandbytes.optim.PagedAdamW8bit}
    optimizer: torch.optim.Optimizer = eight_bit[kind](groups, weight_decay=weight_decay)
    return optimizer


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
