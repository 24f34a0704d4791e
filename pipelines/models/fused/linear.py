"""Linear layers with one input, and their LoRA adapters, as one product each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Adapters:
    """The LoRA adapters (Hu et al. 2021, arXiv:2106.09685) of layers with one input."""

    downs: Sequence[Tensor]
    """A of each layer [R, K]; empty without adapters."""
    ups: Sequence[Tensor]
    """B of each layer [N, R]."""
    scales: Sequence[float]

    def stacked(self, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
        """Return all A [sum R, K], and all B scaled and block-diagonal [sum N, sum R]."""
        if not self.downs:
            return None
        up = torch.zeros(sum(map(len, self.ups)), sum(map(len, self.downs)), dtype=dtype)
        for block, each, scale in zip(self._blocks(up), self.ups, self.scales, strict=True):
            torch.mul(each, scale, out=block)
        return torch.cat(list(self.downs)).to(dtype), up

    def gradients(self, ddown: Tensor, dup: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients of each A and of each B, given those of what `stacked` returned."""
        ddowns = torch.split(ddown.to(self.downs[0].dtype), [len(each) for each in self.downs])
        dups = zip(self._blocks(dup), self.ups, self.scales, strict=True)
        return list(ddowns), [block.to(each.dtype) * scale for block, each, scale in dups]

    def _blocks(self, up: Tensor) -> list[Tensor]:
        """Return the block of each adapter in `up`, as a view."""
        widths = [len(each) for each in self.downs]
        rows = torch.split(up, [len(each) for each in self.ups])
        return [torch.split(row, widths, 1)[place] for place, row in enumerate(rows)]


class FusedLinear:
    """A frozen weight [N, K] and its adapters, in one forward and backward pass."""

    def __init__(self, weight: Tensor, adapters: Adapters, dtype: torch.dtype) -> None:
        """Convert the adapters to `dtype`."""
        self.weight, self.adapters = weight, adapters
        self.stacked = adapters.stacked(dtype)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the output [T, N] for `x` [T, K], plus `residual`, and the adapters' inner state [T, sum R]."""
        y = x @ self.weight.T if residual is None else torch.addmm(residual, x, self.weight.T)
        if self.stacked is None:
            return y, None
        down, up = self.stacked
        inner = x @ down.T
        return y.addmm_(inner, up.T), inner

    def backward(self, dy: Tensor, x: Tensor, inner: Tensor | None) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return the gradients of `x`, of each A and of each B, given that of the output [T, N]."""
        dx = dy @ self.weight
        if self.stacked is None or inner is None:
            return dx, [], []
        down, up = self.stacked
        dinner = dy @ up
        return dx.addmm_(dinner, down), *self.adapters.gradients(dinner.T @ x, dy.T @ inner)


def stacked_weight(layers: Sequence[Any]) -> Tensor:
    """Return the weights of linear layers as one [sum N, K]; they become views of it, so that memory does not grow."""
    if len(layers) == 1:
        weight: Tensor = layers[0].weight.data
        return weight
    stacked = torch.cat([each.weight.data for each in layers])
    for each, part in zip(layers, torch.split(stacked, [each.out_features for each in layers]), strict=True):
        each.weight.data = part
    return stacked
