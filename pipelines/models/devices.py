"""Device, precision, threads and seed.

A process uses one device, however many are visible: the first GPU, or under a launcher the GPU with its local rank.
"""

import random
from datetime import timedelta

import numpy as np
import psutil
import torch
import torch.distributed as dist
import transformers

from pipelines.models.config import ComputeConfig
from pipelines.runtime import environment, liveness
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say

PATIENCE = timedelta(hours=2)
"""Longest wait for another process, as for rank 0 while it writes a checkpoint. A dead process is noticed earlier, by
the launcher."""


def prepare(compute: ComputeConfig) -> torch.device:
    """Seed all generators, set the number of threads, and return the device. Call before creating any tensor.

    A GPU is locked until the process ends: two trainings on one GPU would share its memory and fail. Launched
    processes join each other instead; their launcher holds the lock.
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
        torch.cuda.set_device(where)  # also for libraries that only name "cuda"
    if environment.launched() and not dist.is_initialized():
        dist.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=PATIENCE)
    elif where.type == "cuda" and not environment.launched():
        liveness.accelerator()
    if compute.precision == "bf16" and not _bf16_is_faster(where):
        say("compute.precision: bf16 is slower than float32 on this processor; auto would be fp32 here")
    return where


def device(compute: ComputeConfig) -> torch.device:
    """Resolve `compute.device` on this machine, to the one device of this process.

    Raises:
        UserError: `cuda` is requested and no GPU is available.
    """
    present = torch.cuda.is_available()
    if compute.device == "cuda" and not present:
        raise UserError("compute.device is 'cuda', but torch sees no GPU here; set it to 'auto' or 'cpu'.")
    if not present or compute.device == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", environment.local_rank())


def available(where: torch.device) -> int:
    """Return the free bytes of a GPU, or of main memory."""
    if where.type == "cuda":
        return int(torch.cuda.mem_get_info(where)[0])
    return int(psutil.virtual_memory().available)


def dtype(compute: ComputeConfig) -> torch.dtype:
    """Resolve `compute.precision` to the dtype of frozen weights and matrix products."""
    precise = compute.precision == "auto" and not _bf16_is_faster(device(compute))
    return torch.float32 if precise or compute.precision == "fp32" else torch.bfloat16


def warn_of_slow_training(compute: ComputeConfig) -> None:
    """Report that training will be slow, on a CPU without AVX-512 where `compute.precision: auto` is float32."""
    on_cpu = device(compute).type == "cpu" and compute.precision == "auto"
    if on_cpu and dtype(compute) == torch.float32 and not torch.cpu.get_capabilities().get("avx512_f"):
        say(
            "this processor has neither AVX-512 nor bf16 instructions, and trains about four times as slowly as one "
            "that has; for a first look at all stages: gradus use recipes/quick.yaml"
        )


def _bf16_is_faster(where: torch.device) -> bool:
    """Return whether products in bf16 are faster than in float32.

    Emulation takes eight times as long. Intel's AVX-512 BF16 alone, as where a hypervisor hides AMX, multiplies at the
    rate of float32 and pays for the conversion (Sapphire Rapids: 150 GFLOP/s on two cores, instead of 275).
    """
    if where.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    native = {name for name, there in found.items() if name.endswith("bf16") and there is True}
    return bool(native - {"avx512_bf16"} if str(found.get("cpu_name")).startswith("Intel") else native)


def autocast(compute: ComputeConfig, where: torch.device) -> torch.autocast:
    """Return the autocast context of training and scoring: bf16 products, float32 sums and adapters."""
    return torch.autocast(where.type, dtype=torch.bfloat16, enabled=dtype(compute) == torch.bfloat16)
