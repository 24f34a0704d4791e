"""Fully sharded data parallelism (FSDP, Zhao et al. 2023, arXiv:2304.11277) of the decoder layers of a model.

Each process keeps an equal part of every layer's weights, gradients and optimizer states, and gathers the weights of a
layer while it computes with it. Embeddings, output layer and norm stay whole in every process, since losses and
decoding read them outside of the decoder's forward pass.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from pipelines.models.config import ComputeConfig
from pipelines.models.devices import autocast, available, device, dtype
from pipelines.runtime.errors import UserError

EVALUATED = 1.6
"""Memory that evaluating a model takes, as a multiple of its float32 weights: autocast keeps bf16 copies."""


@dataclass(frozen=True)
class _Whole:
    """What a sharded model becomes again."""

    decoder: nn.Module
    """The decoder as it was, without the weights of its layers."""
    compute: ComputeConfig


_WHOLE: WeakKeyDictionary[nn.Module, _Whole] = WeakKeyDictionary()
"""All sharded models."""


def mesh(compute: ComputeConfig) -> DeviceMesh:
    """Return the mesh of all processes. Every process calls it."""
    return init_device_mesh(device(compute).type, (dist.get_world_size(),))


@contextmanager
def in_turn() -> Iterator[None]:
    """Run the block in one process after the other, so that one at a time has a whole model in main memory."""
    rank, processes = dist.get_rank(), dist.get_world_size()
    for _ in range(rank):
        dist.barrier()
    yield
    for _ in range(rank, processes):
        dist.barrier()


def shard(model: PreTrainedModel, compute: ComputeConfig, over: DeviceMesh) -> None:
    """Shard the layers of `model`, which is on the CPU, over the processes of a mesh, and move the rest to its device.

    No process waits for another one.

    Layers are gathered in the precision of `compute`; shards, and the sums of gradients, are float32.

    Raises:
        UserError: the model has no layers that transformers marks as such.
    """
    layers = [module for module in model.base_model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UserError(f"{type(model).__name__} has no layers to shard; set training.sharded to false.")
    where = device(compute)
    inside = {value for layer in layers for value in layer.parameters()}
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers()) if tensor not in inside}
    for tensor in shared.values():
        tensor.data = tensor.data.to(where)
    shared |= {id(value): nn.Parameter(value.to("meta"), value.requires_grad) for value in inside}
    _WHOLE[model] = _Whole(copy.deepcopy(model.base_model, shared), compute)
    half = MixedPrecisionPolicy(dtype(compute), torch.float32, cast_forward_inputs=False)
    for layer in layers:
        fully_shard(layer, mesh=over, mp_policy=half)
    rest = set(model.base_model.parameters()) - inside
    fully_shard(model.base_model, mesh=over, mp_policy=half, ignored_params=rest)
    for module in model.modules():
        if isinstance(module, FSDPModule):  # gradients are added, as the loop adds those of whole weights
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def autocast_if_sharded(model: PreTrainedModel) -> AbstractContextManager[object]:
    """Return the autocast context that a sharded `model` needs, and for another model one without effect.

    Layers are gathered in the precision of products and the rest is float32: without autocast they do not multiply.
    """
    whole = _WHOLE.get(model)
    return nullcontext() if whole is None else autocast(whole.compute, model.device)


def gather(model: nn.Module) -> None:
    """Give rank 0 the whole `model` again, which computes without the other processes; do nothing if none is sharded.

    It is gathered in main memory, since one device may be too small, and returns to the device if that can evaluate it.
    Every process calls it. The model of the other processes is of no use afterwards.
    """
    whole = _WHOLE.pop(model, None)
    if whole is None:
        return
    assert isinstance(model, PreTrainedModel)
    where = model.device
    for name, value in model.base_model.named_parameters():
        if isinstance(value, DTensor):
            owner, _, leaf = name.rpartition(".")
            gathered = nn.Parameter(full(value.detach()), value.requires_grad)
            setattr(whole.decoder.get_submodule(owner), leaf, gathered)
    setattr(model, model.base_model_prefix, whole.decoder.train(model.training))
    if not dist.get_rank():
        model.to(_roomy(where, sum(value.nbytes for value in model.parameters())))


def _roomy(where: torch.device, weights: int) -> torch.device:
    """Return the device `where` if it has the memory to evaluate a model with `weights` bytes, else the CPU."""
    if where.type == "cuda":
        torch.cuda.empty_cache()
    return where if where.type == "cpu" or EVALUATED * weights < available(where) else torch.device("cpu")


def sharded(tensors: Iterable[Tensor]) -> bool:
    """Return whether any of `tensors` is sharded."""
    return any(isinstance(each, DTensor) for each in tensors)


def separated(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Return unsharded and sharded tensors as two lists, without empty ones: no fused operation takes both."""
    kinds: dict[bool, list[Tensor]] = {False: [], True: []}
    for each in tensors:
        kinds[isinstance(each, DTensor)].append(each)
    return [kind for kind in kinds.values() if kind]


def full(tensor: Tensor) -> Tensor:
    """Return `tensor`; of a sharded one all values in main memory, in rank 0 alone. Every process calls it."""
    if not isinstance(tensor, DTensor):
        return tensor
    values: Tensor = tensor.full_tensor()
    return values.cpu() if not dist.get_rank() else values.new_empty(0)


def sharded_like(values: Tensor, like: Tensor) -> Tensor:
    """Return `values` sharded as the tensor `like` is, if it is and has their shape."""
    if not isinstance(like, DTensor) or values.shape != like.shape:
        return values
    return distribute_tensor(values.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
