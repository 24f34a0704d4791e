"""One optimizer step: the gradients of its micro-batches, added and divided by the weight of the whole step.

An objective returns sums of losses and their weight, such as the number of labelled tokens. Sums and gradients are
added over micro-batches and processes (torch.distributed) before the division, so that a step has the same result
however it is split.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pipelines.models.config import ComputeConfig
from pipelines.models.devices import autocast
from pipelines.models.head import Model
from pipelines.models.parallel.sharding import separated, sharded
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.runtime.tracking import Run
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.config import TrainingConfig
from pipelines.training.examples import fill
from pipelines.training.stable import StablePhase

T = TypeVar("T")

BUCKET = 2**24  # gradients that processes add at once
CPU_TOKENS = 4096  # of an automatic micro-batch on a CPU, where larger ones are not faster


@dataclass(frozen=True)
class Loss:
    """Sums over a micro-batch; the step's mean is the sum over its micro-batches, divided by the sum of weights."""

    total: Tensor
    weight: float
    metrics: Mapping[str, Tensor | float] = field(default_factory=dict)


class Objective(Protocol):
    """A loss over items of a data set, named by index."""

    @property
    def sizes(self) -> Sequence[int]:
        """Tokens of each item, without padding."""

    def __call__(self, model: Model, items: Sequence[int]) -> Loss:
        """Return the loss of a micro-batch."""


@dataclass(frozen=True)
class Job:
    """How and under which name to train."""

    what: str
    learning_rate: float
    epochs: int
    training: TrainingConfig
    compute: ComputeConfig
    run: Run
    checkpoints: Checkpoints
    stable: StablePhase | None = None


def share(step: Sequence[int]) -> Sequence[int]:
    """Return the items of a step that this process computes."""
    return shares_of(step)[dist.get_rank() if dist.is_initialized() else 0]


def shares_of(step: Sequence[int]) -> list[Sequence[int]]:
    """Return the items of a step that each process computes: of n every n-th, or the first of all if it has none."""
    number = dist.get_world_size() if dist.is_initialized() else 1
    return [step[rank::number] or step[:1] for rank in range(number)]


def micro_batch_tokens(
    training: TrainingConfig, device: torch.device, plan: Sequence[Sequence[int]], sizes: Sequence[int]
) -> int:
    """Return the limit of a micro-batch in tokens with padding.

    `auto` is the largest step, or the largest share of it of any process, on a CPU at most 4,096.
    """
    if training.micro_batch_tokens != "auto":
        return training.micro_batch_tokens
    shares = (each for step in plan for each in shares_of(step))
    largest = max(len(items) * max(sizes[item] for item in items) for items in shares)
    return min(largest, CPU_TOKENS) if device.type == "cpu" else largest


def accumulate(
    model: Model,
    parameters: Sequence[nn.Parameter],
    objective: Objective,
    step: Sequence[int],
    budget: int,
    job: Job,
) -> tuple[dict[str, float], int]:
    """Add the gradients of this process's share of a step; return the sums and the limit of a micro-batch that fitted.

    A process without a share computes one item with weight zero. With a sharded model all processes compute equally
    many micro-batches, since they gather its layers together, and none can start a step again.

    Raises:
        UserError: a single item does not fit into memory, or with a sharded model a micro-batch.
    """
    own = share(step)
    scale = 0.0 if dist.is_initialized() and dist.get_rank() >= len(step) else 1.0
    together = sharded(parameters)
    while True:
        micro_batches = fill(own, objective.sizes, budget)
        weighted = [(items, scale) for items in micro_batches]
        if together:
            most = max(len(fill(each, objective.sizes, budget)) for each in shares_of(step))
            weighted += [(micro_batches[0], 0.0)] * (most - len(micro_batches))
        try:
            return _backward(model, objective, weighted, job), budget
        except torch.OutOfMemoryError as error:
            if together:
                raise UserError(
                    f"{job.what}: a micro-batch of {budget} tokens does not fit into the GPU's memory; lower "
                    "training.micro_batch_tokens, or set training.checkpointing to on."
                ) from error
            if max(map(len, micro_batches)) == 1:
                longest = max(objective.sizes[item] for item in own)
                raise UserError(
                    f"{job.what}: a row of {longest} tokens does not fit into the GPU's memory; set "
                    "training.checkpointing to on, base.quantization to nf4, or train on shorter rows."
                ) from error
        for parameter in parameters:
            parameter.grad = None
        torch.cuda.empty_cache()
        budget = max(len(part) * max(objective.sizes[item] for item in part) for part in micro_batches) // 2
        say(f"{job.what}: out of memory; continuing with micro-batches of {budget} tokens")


def _backward(
    model: Model, objective: Objective, micro_batches: list[tuple[list[int], float]], job: Job
) -> dict[str, float]:
    """Add the gradients of micro-batches, each with the factor of its loss; return the sums."""
    sums: dict[str, Tensor | float] = {"weight": 0.0, "loss": 0.0}
    for items, scale in micro_batches:
        with autocast(job.compute, model.device):
            loss = objective(model, items)
        (scale * loss.total).backward()  # type: ignore[no-untyped-call]
        sums["weight"] += scale * loss.weight
        sums["loss"] += scale * loss.total.detach()
        for key, value in loss.metrics.items():
            sums[key] = sums.get(key, 0.0) + scale * value
    return {key: float(value) for key, value in sums.items()}


def averaged(
    parameters: Sequence[nn.Parameter], sums: dict[str, float], limit: float, job: Job, number: int
) -> dict[str, float]:
    """Divide gradients and sums by the weight of step `number`, clip the gradients' norm to `limit`, return the means.

    Raises:
        UserError: the step has no weight, or its loss or gradient is not finite.
    """
    if dist.is_initialized():
        sums = _over_processes(parameters, sums)
    weight = sums.pop("weight")
    if not weight:
        raise no_tokens(job)
    gradients = separated(parameter.grad for parameter in parameters if parameter.grad is not None)
    values = {key: value / weight for key, value in sums.items()}
    values["gradient_norm"] = math.hypot(*map(_norm, gradients)) / weight
    for key in ("loss", "gradient_norm"):
        if not math.isfinite(values[key]):
            name = key.replace("_", " ")
            raise UserError(f"The {name} became {values[key]} at step {number}; lower {job.what}.learning_rate.")
    for alike in gradients:
        torch._foreach_mul_(alike, min(1.0, limit / (values["gradient_norm"] + 1e-6)) / weight)
    return values


def _norm(gradients: list[Tensor]) -> float:
    """Return the norm of gradients that are all whole, or all sharded."""
    norm = nn.utils.get_total_norm(gradients)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def _over_processes(parameters: Sequence[nn.Parameter], sums: dict[str, float]) -> dict[str, float]:
    """Add the gradients and sums of all processes.

    Gradients of sharded weights are added already, and frozen weights have none.
    """
    for bucket in _buckets([each for each in parameters if each.requires_grad and not isinstance(each, DTensor)]):
        flat = torch.cat([(torch.zeros_like(each) if each.grad is None else each.grad).flatten() for each in bucket])
        dist.all_reduce(flat)
        for each, part in zip(bucket, torch.split(flat, [each.numel() for each in bucket]), strict=True):
            each.grad = part.view_as(each)
    totals = torch.tensor(list(sums.values()), dtype=torch.float64, device=parameters[0].device)
    dist.all_reduce(totals)
    return dict(zip(sums, totals.tolist(), strict=True))


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield the parameters in groups of at most `BUCKET` entries, or one: few messages, and little memory besides."""
    bucket: list[nn.Parameter] = []
    for each in parameters:
        if bucket and sum(map(torch.numel, bucket)) + each.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(each)
    if bucket:
        yield bucket


def equalise(parameters: Sequence[nn.Parameter]) -> None:
    """Give the parameters, except sharded ones, the values of rank 0 in every process."""
    if dist.is_initialized():
        for parameter in parameters:
            if not isinstance(parameter, DTensor):
                dist.broadcast(parameter.data, src=0)


def of_rank_0(value: T) -> T:
    """Return the value of rank 0 in every process, so that all decide alike."""
    values = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def no_tokens(job: Job) -> UserError:
    """Return the error of a training without labelled tokens."""
    return UserError(f"{job.what}: there is no token to train on; check the rejects of the previous stage.")
