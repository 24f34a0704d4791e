"""Model FLOPs utilization (MFU): the FLOPs that the model itself needs per second, over the peak of the GPU.

PaLM (Chowdhery et al. 2022, arXiv:2204.02311, appendix B) counts, per token of a sequence of T tokens, forward and
backward,

    6 N + 12 L H Q T

FLOPs for N weights in matrix products, L layers, and H attention heads of width Q: two FLOPs per weight for the forward
product, two for the gradient of its input and two for the gradient of the weight, and the same three for the products
of queries with keys and of probabilities with values. A frozen weight, as under a LoRA adapter, needs no gradient of
its own:

    4 N_frozen + 6 N_trained + 12 L H Q T

N has the linear layers, also quantised ones, but not the output layer, whose logits are computed only at labelled
tokens. Recomputed activations, padding and the base model's forward pass in rehearsed rows are overhead. The
utilization is therefore a lower bound.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from pipelines.models.config import ComputeConfig
from pipelines.models.devices import dtype
from pipelines.models.head import Model, base_of

PEAKS = {
    r"H100 PCIe": 756e12,
    r"(H100|H200) NVL": 835e12,
    r"(H100|H200)\b": 989e12,
    r"A100\b": 312e12,
    r"L40S\b": 362e12,
    r"L4$": 121e12,
    r"RTX 4090$": 165e12,
}
"""Dense bf16 FLOPs per second by GPU, from NVIDIA's data sheets; the first pattern in the name of the device counts."""


@dataclass(frozen=True)
class Utilization:
    """What the FLOPs of a row depend on, and the peak of all devices."""

    per_token: int
    """FLOPs of a token in matrix products with weights."""
    per_token_pair: int
    """FLOPs of attention for a pair of tokens of one row; causality is not counted, as in PaLM."""
    peak: float

    def flops(self, sizes: Iterable[int]) -> float:
        """Return the FLOPs of a forward and backward pass over rows of `sizes` tokens."""
        return float(sum(self.per_token * size + self.per_token_pair * size**2 for size in sizes))


def utilization(model: Model, compute: ComputeConfig) -> Utilization | None:
    """Return how to compute the MFU of training `model`; None on a CPU, an unknown GPU, or with float32 products."""
    if model.device.type != "cuda" or dtype(compute) != torch.bfloat16:
        return None
    peak = peak_flops(torch.cuda.get_device_name(model.device))
    return None if peak is None else counted(model, peak * (dist.get_world_size() if dist.is_initialized() else 1))


def peak_flops(device: str) -> float | None:
    """Return the dense bf16 FLOPs per second of the GPU named `device`; None if unknown, or only a part of a GPU."""
    if "MIG" in device:
        return None
    return next((peak for pattern, peak in PEAKS.items() if re.search(rf"\b{pattern}", device)), None)


def counted(model: Model, peak: float) -> Utilization:
    """Count the FLOPs of training `model`, without those of inactive adapters."""
    base = base_of(model)
    head, config = base.get_output_embeddings(), base.config.get_text_config()
    weights = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module is not head:
            trained = module.weight.requires_grad
            if trained or "lora_" not in name:
                weights += (6 if trained else 4) * module.in_features * module.out_features  # NF4 packs two in a byte
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Utilization(weights, 12 * config.num_hidden_layers * config.num_attention_heads * width, peak)
