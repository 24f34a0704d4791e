"""Checks before the weights are loaded: quantisation, memory and disk. They take seconds; training takes hours."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import bitsandbytes
import torch
from transformers import AutoConfig

from pipelines.models import memory
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.devices import device, dtype
from pipelines.models.memory import GIB, Traced, Training
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.training.checkpoints import KEPT
from pipelines.training.config import PretrainConfig, SFTConfig
from pipelines.training.examples import IGNORED, Example

_TURING = (7, 5)  # the first GPUs with INT8 tensor cores
_STATE = 12  # bytes of a trainable parameter and its optimiser state in a checkpoint


def check(
    what: str,
    start: Path,
    rows: Sequence[Example],
    plan: Sequence[Sequence[int]],
    config: SFTConfig | PretrainConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
    out: Path,
) -> None:
    """Check that the training `what` of the model in `start` can run here, and print its memory by part.

    Raises:
        UserError: the device lacks the quantisation, the memory, or the disk `out` the space.
    """
    where = device(compute)
    check_quantization(base.quantization, where, dtype(compute))
    if not plan:
        return  # reported by the training
    training = largest(rows, plan, config, compute, base)
    shape = memory.trace(AutoConfig.from_pretrained(start), training)
    if shape is None:
        say(f"{what}: the memory of this architecture cannot be estimated")
        return
    check_memory(what, shape, training, config.batch_tokens, where)
    merged = (shape.matrices + shape.others) * training.dtype.itemsize if isinstance(config, PretrainConfig) else 0
    check_disk(what, (KEPT + 1) * _STATE * shape.trainable + memory.MASTER * shape.trainable + merged, out)


def check_quantization(kind: str, where: torch.device, precision: torch.dtype) -> None:
    """Check that the device computes with the quantised weights.

    Raises:
        UserError: it does not.
    """
    if kind == "none":
        return
    if where.type not in bitsandbytes.supported_torch_devices:
        raise UserError(f"base.quantization is {kind}, which bitsandbytes does not support on {where}; set it to none.")
    if kind == "int8" and where.type == "cuda" and torch.cuda.get_device_capability(where) < _TURING:
        raise UserError(f"base.quantization is int8, which {torch.cuda.get_device_name(where)} lacks; set it to nf4.")
    if precision != torch.bfloat16:
        raise UserError(
            f"base.quantization is {kind}, whose products are computed in bf16, and compute.precision resolves to fp32 "
            "here; set compute.precision to bf16, or base.quantization to none."
        )


def largest(
    rows: Sequence[Example],
    plan: Sequence[Sequence[int]],
    config: SFTConfig | PretrainConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
) -> Training:
    """Return the training with the batch of `plan` that has the most tokens with padding."""
    lengths = [len(row.ids) for row in rows]
    learnt = [sum(label != IGNORED for label in row.labels[1:]) for row in rows]
    batch = max(plan, key=lambda each: len(each) * max(lengths[index] for index in each))
    return Training(
        lora=config.lora,
        quantization=base.quantization,
        dtype=dtype(compute),
        rows=len(batch),
        length=max(lengths[index] for index in batch),
        predicted=max(sum(learnt[index] for index in each) for each in plan),
        attention="eager" if device(compute).type == "cpu" else "sdpa",
    )


def check_memory(what: str, shape: Traced, training: Training, batch_tokens: int, where: torch.device) -> None:
    """Print the memory estimate, and compare it with the free memory of the device.

    Raises:
        UserError: the estimate is larger; the message names a change that fits.
    """
    needed, free = memory.estimate(shape, training), memory.available(where)
    say(f"{what}: estimated memory of {training.rows} rows of {training.length} tokens\n{needed}")
    if needed.total <= free:
        return
    way = memory.first_fit(shape, _smaller(what, training, batch_tokens), free)
    other = f"lower {what}.lora.rank or the length of rows, or set a smaller base.model"
    raise UserError(
        f"{what} needs an estimated {needed.total / GIB:.1f} GiB of memory, and {where} has {free / GIB:.1f} GiB free; "
        f"{way or other}."
    )


def _smaller(what: str, training: Training, batch_tokens: int) -> Iterator[tuple[str, Training]]:
    """Yield trainings that need less memory, the least harmful change first."""
    for kind in dict.fromkeys((training.quantization, "nf4")):
        quantized = "" if kind == training.quantization else "base.quantization nf4"
        tokens = batch_tokens if quantized else batch_tokens // 2
        while tokens >= training.length:
            rows = max(1, min(training.rows, tokens // training.length))
            predicted = -(-training.predicted * rows // training.rows)
            batch = f"{what}.batch_tokens {tokens} instead of {batch_tokens}" if tokens < batch_tokens else ""
            changes = " with ".join(filter(None, (quantized, batch)))
            yield changes, replace(training, quantization=kind, rows=rows, predicted=predicted)
            tokens //= 2


def check_disk(what: str, needed: int, folder: Path) -> None:
    """Check that a disk has room for checkpoints and the trained weights.

    Raises:
        UserError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{what} writes up to {needed / GIB:.1f} GiB of checkpoints and weights, and the disk of {folder} has "
            f"{free / GIB:.1f} GiB free; free space there (`gradus gc`), or lower {what}.lora.rank."
        )
