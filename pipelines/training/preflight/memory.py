"""The memory check: the largest micro-batch of a training, its estimate, and the change that fits if it does not."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from pipelines.models import devices, memory
from pipelines.models.config import BaseModelConfig
from pipelines.models.memory import GIB, Traced, Training
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.training.config import TrainingConfig
from pipelines.training.examples import IGNORED, Example, fill
from pipelines.training.step import micro_batch_tokens, share

Item = tuple[Example, ...]
"""What a plan names by an index: a row, or the two rows of a preference pair, which go through the model together."""

SHORTER = {
    "pretrain": "lower pretrain.block_tokens",
    "sft": "lower sft.max_tokens and sft.lm_tokens",
    "teacher": "shorten the passages in teacher.seeds",
    "reward": "lower pairs.max_tokens",
    "align.dpo": "lower pairs.max_tokens",
}
"""How the rows of each training become shorter, for error messages."""


def largest(
    items: Sequence[Item],
    plan: Sequence[Sequence[int]],
    tuning: TuningConfig,
    training: TrainingConfig,
    base: BaseModelConfig,
    where: torch.device,
    precision: torch.dtype,
) -> Training:
    """Return the training with the micro-batch that has the most tokens with padding, as the loop splits `plan`."""
    lengths = [max(len(row.ids) for row in item) for item in items]
    sizes = [len(item) * length for item, length in zip(items, lengths, strict=True)]
    learnt = [sum(label != IGNORED for row in item for label in row.labels[1:]) for item in items]
    budget = micro_batch_tokens(training, where, plan, sizes)
    parts = [part for step in plan for part in fill(share(step), sizes, budget)]
    part = max(parts, key=lambda each: len(each) * max(sizes[index] for index in each))
    return Training(
        tuning=tuning,
        quantization=base.quantization,
        dtype=precision,
        rows=sum(len(items[index]) for index in part),
        length=max(lengths[index] for index in part),
        predicted=max(sum(learnt[index] for index in each) for each in parts),
        rehearsed=max(sum(learnt[index] for index in each if items[index][0].rehearsed) for each in parts),
        optimizer=training.optimizer,
        checkpointing=training.checkpointing == "on",
        shards=training.shards if tuning.selects else 1,
        attention="eager" if where.type == "cpu" else "sdpa",
    )


def check_memory(
    what: str, shape: Traced, training: Training, where: torch.device, may_recompute: bool, together: int = 1
) -> bool:
    """Print the memory estimate, compare it with the free memory of the device, and return whether layers recompute.

    With `may_recompute`, activation checkpointing is switched on if memory is too small without. A micro-batch has at
    least `together` rows.

    Raises:
        UserError: the estimate is larger; the message names a change that fits.
    """
    needed, free = memory.estimate(shape, training), devices.available(where)
    if may_recompute and needed.total > free:
        training = replace(training, checkpointing=True)
        needed = memory.estimate(shape, training)
    how = ", with activation checkpointing" if training.checkpointing else ""
    say(f"{what}: estimated memory of {training.rows} rows of {training.length} tokens{how}\n{needed}")
    if needed.total <= free:
        return training.checkpointing
    way = memory.first_fit(shape, _smaller(training, where, together), free)
    fewer = "train an adapter (tuning.method lora)" if training.tuning.selects else "lower the rank of the adapter"
    other = f"{SHORTER[what]}, {fewer}, or set a smaller base.model"
    raise UserError(
        f"{what} needs an estimated {needed.total / GIB:.1f} GiB of memory, and {where} has {free / GIB:.1f} GiB free; "
        f"{way or other}."
    )


def _smaller(training: Training, where: torch.device, together: int = 1) -> Iterator[tuple[str, Training]]:
    """Yield trainings that need less memory: first those with equal results, then 8-bit states, then NF4 weights.

    Smaller batches are not among them: their micro-batches can be as small without a change of the batch.
    """
    eight_bit = where.type == "cuda" and training.optimizer == "adamw"
    changes: list[dict[str, str]] = [{}]
    if eight_bit:
        changes.append({"optimizer": "paged_adamw_8bit"})
    if not training.tuning.selects and training.quantization != "nf4":  # else the weights themselves are trained
        changes += [{**change, "quantization": "nf4"} for change in changes]
    names = {"optimizer": "training.optimizer", "quantization": "base.quantization"}
    for change in changes:
        named = [f"{names[key]} {value}" for key, value in change.items()]
        for recompute in dict.fromkeys((training.checkpointing, True)):
            switched = [] if recompute == training.checkpointing else ["training.checkpointing on"]
            changed = replace(training, checkpointing=recompute, **change)  # type: ignore[arg-type]
            for tokens, smaller in _micro_batches(changed, together):
                split = [] if smaller == changed else [f"training.micro_batch_tokens {tokens}"]
                if parts := [*named, *switched, *split]:
                    yield " with ".join(parts), smaller


def _micro_batches(training: Training, together: int) -> Iterator[tuple[int, Training]]:
    """Yield `training` with micro-batches of its tokens, of half as many, and so on, down to `together` rows."""
    tokens, item = training.rows * training.length, together * training.length
    while tokens >= item:
        rows = tokens // item * together
        predicted, rehearsed = (-(-count * rows // training.rows) for count in (training.predicted, training.rehearsed))
        yield tokens, replace(training, rows=rows, predicted=predicted, rehearsed=rehearsed)
        tokens //= 2
