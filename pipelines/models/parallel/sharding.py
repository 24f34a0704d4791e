"""Fully sharded data parallelism (FSDP, Zhao et al. 2023, arXiv:2304.11277) of the decoder layers of a model.

Each process keeps an equal part of every layer's weights, gradients and optimizer states, and gathers the weights of a
layer while it computes with it. Embeddings, output layer and norm stay whole in every process, since losses and
decoding read them outside of the decoder's forward pass.
"""

import copy
from collections.abc import Iterable
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from pipelines.models.config import ComputeConfig
from pipelines.models.devices import device, dtype
from pipelines.runtime.errors import UserError

_WHOLE: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()
"""The decoder of each sharded model as it was, without the weights of its layers."""


def shard(model: PreTrainedModel, compute: ComputeConfig) -> None:
    """Shard the layers of `model`, which is on the CPU, over the processes, and move the rest to their devices.

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
    _WHOLE[model] = copy.deepcopy(model.base_model, shared)
    half = MixedPrecisionPolicy(dtype(compute), torch.float32, cast_forward_inputs=False)
    mesh = init_device_mesh(where.type, (dist.get_world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=half)
    rest = set(model.base_model.parameters()) - inside
    fully_shard(model.base_model, mesh=mesh, mp_policy=half, ignored_params=rest)
    for module in model.modules():
        if isinstance(module, FSDPModule):  # gradients are added, as the loop adds those of whole weights
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def gather(model: nn.Module) -> None:
    """Give rank 0 the whole `model` again, which computes without the other processes; do nothing if none is sharded.

    Every process calls it. The model of the other processes is of no use afterwards.
    """
    decoder = _WHOLE.pop(model, None)
    if decoder is None:
        return
    assert isinstance(model, PreTrainedModel)
    for name, value in model.base_model.named_parameters():
        if isinstance(value, DTensor):
            owner, _, leaf = name.rpartition(".")
            gathered = nn.Parameter(value.full_tensor(), value.requires_grad)
            setattr(decoder.get_submodule(owner), leaf, gathered if not dist.get_rank() else None)
    setattr(model, model.base_model_prefix, decoder.train(model.training))


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
