"""The matrix products of a training step with LoRA, timed on their own for benchmarks/sft.py."""

import time

import peft
import torch


class PlainProducts:
    """The matrix products of a training step, and nothing else."""

    def __init__(self, model: peft.PeftModel, precision: torch.dtype) -> None:
        """Read the frozen weights of `model`, and copy its adapters in `precision`."""
        adapted = [module for module in model.modules() if isinstance(module, peft.tuners.lora.Linear)]
        self.layers = [
            [
                each.base_layer.weight.detach(),
                each.lora_A["default"].weight.detach().to(precision),
                each.lora_B["default"].weight.detach().to(precision),
            ]
            for each in adapted
        ]
        self.head, self.precision = model.get_output_embeddings().weight.detach(), precision

    def flops(self, tokens: int, labelled: int) -> int:
        """Return the floating-point operations of a step over `tokens`, of which `labelled` are predicted."""
        frozen = sum(weight.numel() for weight, _, _ in self.layers)
        trained = sum(down.numel() + up.numel() for _, down, up in self.layers)
        operations: int = tokens * (4 * frozen + 6 * trained) + 4 * labelled * self.head.numel()
        return operations

    def seconds(self, tokens: int, labelled: int) -> float:
        """Return the time of the products of such a step."""
        widths = {width for weight, _, _ in self.layers for width in weight.shape}
        values = {width: torch.randn(tokens, width, dtype=self.precision) for width in widths}
        hidden, dlogits = (torch.randn(labelled, width, dtype=self.precision) for width in reversed(self.head.shape))
        began = time.perf_counter()
        for weight, down, up in self.layers:
            dy, x = (values[width] for width in weight.shape)
            inner, dinner = x @ down.T, dy @ up
            _ = x @ weight.T, inner @ up.T, dy @ weight, dinner @ down, dinner.T @ x, dy.T @ inner
        _ = hidden @ self.head.T, dlogits @ self.head
        return time.perf_counter() - began
