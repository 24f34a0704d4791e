"""Llama's decoder layer as one autograd function (Touvron et al. 2023, arXiv:2302.13971, section 2.2).

Names that start with d are gradients. Tokens of all rows are one dimension, T = B L.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.fused.linear import Adapters, FusedLinear


@dataclass(frozen=True)
class Layer:
    """What a layer computes with: frozen weights and the shape of its attention."""

    weights: Sequence[Tensor]
    """Query, key and value; output; gate and up; down: [N, K] each."""
    norms: Sequence[Any]
    """RMSNorm before attention and before the MLP."""
    heads: int
    kv_heads: int
    width: int
    """Of a head."""
    scale: float
    """Of attention scores."""

    def split(self, qkv: Tensor, batch: int) -> tuple[Tensor, ...]:
        """Return views [B, heads, L, width] of queries, keys and values in `qkv` [T, N]."""
        heads = qkv.view(batch, -1, self.heads + 2 * self.kv_heads, self.width).transpose(1, 2)
        return torch.split(heads, [self.heads, self.kv_heads, self.kv_heads], 1)

    def grouped(self, heads: Tensor) -> Tensor:
        """Return [B, heads, L, width] as [B kv_heads, L heads / kv_heads, width], for grouped-query attention."""
        return heads.reshape(len(heads) * self.kv_heads, -1, self.width)


class FusedLayer(torch.autograd.Function):
    """Attention and MLP with norms and residuals."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None,
        layer: Layer,
        scales: Sequence[Sequence[float]],
        *parameters: Tensor,
    ) -> Tensor:
        """Return the hidden states [B, L, H] after the layer.

        `cos` and `sin` are [B, 1, L, width / 2], `mask` is added to the attention scores. `scales` are those of the
        adapters of each of the layer's weights, and `parameters` first their A, then their B, in that order.
        """
        batch, length, size = hidden.shape
        with torch.autocast("cpu", enabled=False):
            linears = _linears(layer, scales, parameters, hidden.dtype)
            x = hidden.reshape(-1, size)
            x1, *norm1 = _normalised(x, layer.norms[0])
            qkv, inner1 = linears[0].forward(x1)
            q, k, v = layer.split(qkv, batch)
            q, k = (_rotated(each, torch.empty(each.shape, dtype=each.dtype), cos, sin, 1) for each in (q, k))
            q, k, v = map(layer.grouped, (q, k, v))
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(layer.scale).view(batch, layer.heads, length, length)
            weights = torch.softmax(scores if mask is None else scores.add_(mask), -1)
            weights = weights.view(len(k), -1, length)
            attended = torch.bmm(weights, v).view(batch, layer.heads, length, layer.width)
            attended = attended.transpose(1, 2).reshape(batch * length, -1)
            x2, inner2 = linears[1].forward(attended, x)
            x3, *norm2 = _normalised(x2, layer.norms[1])
            gate_up, inner3 = linears[2].forward(x3)
            gate, up = gate_up.chunk(2, -1)
            activated = F.silu(gate)
            product = activated * up
            y, inner4 = linears[3].forward(product, x2)
        ctx.layer, ctx.linears = layer, linears
        attention, mlp = (x1, inner1, q, k, v, weights, attended, inner2), (x3, inner3, gate_up, activated, product)
        ctx.save_for_backward(*attention, *mlp, inner4, *norm1, *norm2, cos, sin)
        return y.view(batch, length, size)

    @staticmethod
    def backward(ctx: Any, dhidden: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the hidden states and of the adapters' parameters."""
        x1, inner1, q, k, v, weights, attended, inner2, *saved = ctx.saved_tensors
        x3, inner3, gate_up, activated, product, inner4, *saved = saved
        norm1, norm2, (cos, sin) = saved[:2], saved[2:4], saved[4:]
        layer, linears = ctx.layer, ctx.linears
        batch, length, size = dhidden.shape
        dy = dhidden.reshape(-1, size)
        dproduct, *d4 = linears[3].backward(dy, product, inner4)
        dgate_up, (gate, up) = torch.empty_like(gate_up), gate_up.chunk(2, -1)
        dgate, dup = dgate_up.chunk(2, -1)
        torch.mul(dproduct, activated, out=dup)
        torch.ops.aten.silu_backward.grad_input(dproduct.mul_(up), gate, grad_input=dgate)
        dx3, *d3 = linears[2].backward(dgate_up, x3, inner3)
        dx2 = _norm_gradient(dx3, layer.norms[1], *norm2).add_(dy).to(dy.dtype)
        dattended, *d2 = linears[1].backward(dx2, attended, inner2)
        dattended = layer.grouped(dattended.view(batch, length, layer.heads, layer.width).transpose(1, 2))
        dv = torch.bmm(weights.transpose(1, 2), dattended)
        dweights = torch.bmm(dattended, v.transpose(1, 2))
        dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype).mul_(layer.scale)
        dqkv = torch.empty(len(dy), len(layer.weights[0]), dtype=dy.dtype)
        to_q, to_k, to_v = layer.split(dqkv, batch)
        _rotated(torch.bmm(dscores, k).view(to_q.shape), to_q, cos, sin, -1)
        _rotated(torch.bmm(dscores.transpose(1, 2), q).view(to_k.shape), to_k, cos, sin, -1)
        to_v.copy_(dv.view(to_v.shape))
        dx1, *d1 = linears[0].backward(dqkv, x1, inner1)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = _norm_gradient(dx1, layer.norms[0], *norm1).add_(dx2).to(dy.dtype).view(dhidden.shape)
        ddowns, dups = ([each for one in (d1, d2, d3, d4) for each in one[part]] for part in (0, 1))
        return dx, None, None, None, None, None, *ddowns, *dups


def _linears(
    layer: Layer, scales: Sequence[Sequence[float]], parameters: Sequence[Tensor], dtype: torch.dtype
) -> list[FusedLinear]:
    found, start, half = [], 0, len(parameters) // 2
    for weight, each in zip(layer.weights, scales, strict=True):
        end = start + len(each)
        adapters = Adapters(parameters[start:end], parameters[half + start : half + end], each)
        found.append(FusedLinear(weight, adapters, dtype))
        start = end
    return found


def _normalised(x: Tensor, norm: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return the RMSNorm of `x` [T, H] as the module `norm` does it, the part before its weight, and 1 / RMS [T, 1]."""
    wide = x.float()
    inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True).add_(norm.variance_epsilon))
    unit = (wide * inverse).to(x.dtype)
    return unit * norm.weight, unit, inverse


def _norm_gradient(dy: Tensor, norm: Any, unit: Tensor, inverse: Tensor) -> Tensor:
    """Return the gradient of the input of `_normalised` [T, H], in float32."""
    dunit, wide = (dy * norm.weight).float(), unit.float()
    along = (dunit * wide).mean(-1, keepdim=True)
    dx: Tensor = dunit.addcmul_(wide, along, value=-1).mul_(inverse)
    return dx


def _rotated(x: Tensor, out: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    """Write `x` [B, heads, L, width] with rotary position embeddings (Su et al. 2021, arXiv:2104.09864) to `out`.

    With `sign` -1 it is the inverse rotation, which is its gradient.
    """
    (first, second), (to_first, to_second) = x.chunk(2, -1), out.chunk(2, -1)
    torch.mul(first, cos, out=to_first)
    to_first.addcmul_(second, sin, value=-sign)
    torch.mul(second, cos, out=to_second)
    to_second.addcmul_(first, sin, value=sign)
    return out
