"""Activation checkpointing: layers keep only their inputs, and the backward pass computes the rest again.

It saves most of the memory of a micro-batch for about a third more computation (Chen et al. 2016, arXiv:1604.06174).
transformers' own switch has no effect in eval mode, in which DPO and PPO train.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PretrainedConfig
from transformers.modeling_layers import GradientCheckpointingLayer

from pipelines.models.devices import available
from pipelines.models.head import Model
from pipelines.models.tuning import virtual_tokens
from pipelines.runtime.errors import UserError
from pipelines.training.config import Checkpointing

_BYTES = 50  # kept per token, layer and unit of width; with LoRA traced 40 to 62 in bf16, and 70 to 101 in float32
_SHARE = 0.8  # of the free memory that activations may fill


def estimate(config: PretrainedConfig, tokens: int) -> int:
    """Return the bytes of activations that a bf16 model with adapters keeps for `tokens` in one backward pass."""
    text = config.get_text_config()
    return _BYTES * int(text.hidden_size) * int(text.num_hidden_layers) * tokens


def wanted(model: Model, mode: Checkpointing, tokens: int, unallocated: int) -> bool:
    """Return whether the layers of `model` are recomputed in micro-batches of `tokens` tokens.

    Never with virtual tokens, whose caches would be filled twice. Gradients and optimizer states will take
    `unallocated` bytes of the memory that is free now.
    """
    return virtual_tokens.of(model) is None and worthwhile(mode, model.config, tokens, model.device, unallocated)


def worthwhile(
    mode: Checkpointing, config: PretrainedConfig, tokens: int, device: torch.device, unallocated: int
) -> bool:
    """Return whether to recompute; `auto` does so on a GPU if the activations of `tokens` would not fit."""
    if mode != "auto":
        return mode == "on"
    return device.type == "cuda" and estimate(config, tokens) > _SHARE * (available(device) - unallocated)


@contextmanager
def recomputed(model: nn.Module, on: bool) -> Iterator[None]:
    """Recompute every layer of `model` in the backward pass, inside the block, in train and eval mode.

    The adapter that is active in the forward pass must also be active in the backward pass.

    Raises:
        UserError: the model has no layers that transformers can checkpoint.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)] if on else []
    if on and not layers:
        raise UserError("This model has no layers for activation checkpointing; set training.checkpointing to off.")
    before = {layer: vars(layer).get("forward") for layer in layers}
    for layer in layers:
        layer.forward = partial(_checkpointed, layer.forward)
    try:
        yield
    finally:
        for layer, forward in before.items():
            del layer.forward
            if forward is not None:
                layer.forward = forward


def _checkpointed(forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **options)
    return checkpoint(forward, *inputs, use_reentrant=False, **options)
