"""Device, precision, threads and seed."""

import random

import numpy as np
import torch
import transformers

from pipelines.models.config import ComputeConfig
from pipelines.runtime import liveness
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say


def prepare(compute: ComputeConfig) -> torch.device:
    """Seed all generators, set the number of threads, and return the device. Call before creating any tensor.

    A GPU is locked until the process ends: two trainings on one GPU would share its memory and fail.
    """
    random.seed(compute.seed)
    np.random.seed(compute.seed)
    torch.manual_seed(compute.seed)
    torch.set_num_threads(compute.threads)
    where = device(compute)
    torch.use_deterministic_algorithms(where.type == "cpu", warn_only=True)  # slow on a GPU, and not exact there
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs 20% of the speed
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if where.type == "cuda":
        liveness.accelerator()
    if dtype(compute) == torch.bfloat16 and not _computes_bf16(where):
        say("compute.precision: this processor only emulates bf16, at an eighth of the speed; auto would be fp32 here")
    return where


def device(compute: ComputeConfig) -> torch.device:
    """Resolve `compute.device` on this machine.

    Raises:
        UserError: `cuda` is requested and no GPU is available.
    """
    present = torch.cuda.is_available()
    if compute.device == "cuda" and not present:
        raise UserError("compute.device is 'cuda', but torch sees no GPU here; set it to 'auto' or 'cpu'.")
    return torch.device("cuda" if present and compute.device != "cpu" else "cpu")


def dtype(compute: ComputeConfig) -> torch.dtype:
    """Resolve `compute.precision` to the dtype of frozen weights and matrix products."""
    precise = compute.precision == "auto" and not _computes_bf16(device(compute))
    return torch.float32 if precise or compute.precision == "fp32" else torch.bfloat16


def _computes_bf16(where: torch.device) -> bool:
    """Return whether bf16 is supported natively; emulation takes eight times as long as float32."""
    if where.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(there is True for name, there in torch.cpu.get_capabilities().items() if name.endswith("bf16"))


def autocast(compute: ComputeConfig, where: torch.device) -> torch.autocast:
    """Return the autocast context of training and scoring: bf16 products, float32 sums and adapters."""
    return torch.autocast(where.type, dtype=torch.bfloat16, enabled=dtype(compute) == torch.bfloat16)
