"""Quantisation of frozen weights with bitsandbytes: NF4 with double quantisation (QLoRA, Dettmers et al. 2023,
arXiv:2305.14314) and INT8 (LLM.int8(), Dettmers et al. 2022, arXiv:2208.07339).
"""

import importlib.util

import torch
import transformers
from transformers import PreTrainedModel
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module

from pipelines.models.config import ComputeConfig, Quantization
from pipelines.models.devices import device, dtype
from pipelines.runtime.errors import UserError

_TURING = (7, 5)  # the first GPUs with INT8 tensor cores


def settings(kind: Quantization, compute: ComputeConfig) -> transformers.BitsAndBytesConfig:
    """Return the loading option of transformers for a quantised model.

    Raises:
        UserError: the device does not compute with such weights.
    """
    check(kind, device(compute))
    if kind == "int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype(compute),
    )


def check(kind: Quantization, where: torch.device) -> None:
    """Check that the device computes with the quantised weights.

    Raises:
        UserError: bitsandbytes is missing or does not support the device, or the device has no INT8 tensor cores.
    """
    if kind == "none":
        return
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            f"base.quantization is {kind}, and bitsandbytes is not installed; pip install it, or set it to none."
        )
    import bitsandbytes  # imported here, because it takes a second that a 16-bit model need not spend

    if where.type not in bitsandbytes.supported_torch_devices:
        raise UserError(f"base.quantization is {kind}, which bitsandbytes does not support on {where}; set it to none.")
    if kind == "int8" and where.type == "cuda" and torch.cuda.get_device_capability(where) < _TURING:
        raise UserError(f"base.quantization is int8, which {torch.cuda.get_device_name(where)} lacks; set it to nf4.")


def kind_of(model: PreTrainedModel) -> Quantization:
    """Return how the weights of a loaded model are quantised."""
    found = getattr(model.config, "quantization_config", None)
    if found is None:
        return "none"
    return "nf4" if found.load_in_4bit else "int8"


def keep_differentiable(model: PreTrainedModel) -> None:
    """Keep the backward pass of NF4 layers on a CPU with AVX512-BF16.

    There bitsandbytes repacks a layer's weights in its first forward pass in eval mode, such as a validation, for a
    kernel without a gradient: all later gradients below that layer are wrong (measured: by 80 to 97% of their norm).
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def quantised_names(model: PreTrainedModel) -> set[str]:
    """Return the names of the weights that quantised loading converts: linear layers, without the output layer.

    `model` may be on the meta device.
    """
    left_out = HfQuantizer.get_modules_to_not_convert(model, None, model._keep_in_fp32_modules)
    return {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and should_convert_module(name, left_out)
    }


def rounded(weight: torch.Tensor, kind: Quantization, precision: torch.dtype) -> torch.Tensor:
    """Return `weight` [out, in] quantised and dequantised: the matrix that training multiplied by, in `precision`."""
    import bitsandbytes

    if kind == "nf4":
        stored = bitsandbytes.nn.Params4bit(
            weight.to(precision), requires_grad=False, quant_type="nf4", compress_statistics=True
        ).to(weight.device)
        matrix: torch.Tensor = bitsandbytes.functional.dequantize_4bit(stored.data, stored.quant_state)
        return matrix
    codes, scales, _ = bitsandbytes.functional.int8_vectorwise_quant(weight.half())
    matrix = bitsandbytes.functional.int8_vectorwise_dequant(codes, scales)
    return matrix.to(precision)
