"""LoRA adapters on one base model combined into one by weights, from their matrices alone.

The results are those of PEFT's `add_weighted_adapter`, which needs the base model in memory, scales adapters of rsLoRA
twice, and stores adapters whose ranks differ between modules in shapes that do not load.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from peft.utils import merge_utils
from torch import Tensor

from pipelines.models import adapters
from pipelines.models.config import ComputeConfig, Quantization
from pipelines.models.devices import device
from pipelines.models.task_adapters import store
from pipelines.models.task_adapters.config import CombineConfig, Method
from pipelines.models.tuning import updates
from pipelines.models.tuning.updates import Update
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import track

Factors = Mapping[str, Update]
"""The updates of a LoRA adapter by the name of the weight."""
Merge = Callable[[list[Tensor], Tensor, float], Tensor]
_MERGES: dict[str, Merge] = {
    "linear": lambda tensors, weights, _: merge_utils.task_arithmetic(tensors, weights),
    "ties": merge_utils.ties,
    "dare_linear": merge_utils.dare_linear,
    "dare_ties": merge_utils.dare_ties,
    "magnitude_prune": merge_utils.magnitude_prune,
}


def load(config: CombineConfig, base: Path) -> tuple[dict[str, Factors], Quantization]:
    """Return the updates of the named adapters, and the quantization of their base model in training.

    Raises:
        UserError: as `check`, or an adapter was trained on other weights than `base` has now.
    """
    for name in config.adapters:
        adapters.lineage(store.find(name))
    return check(config, base)


def check(config: CombineConfig, base: Path) -> tuple[dict[str, Factors], Quantization]:
    """Check that the named adapters can be combined, without the weights of `base`; return them as `load`.

    Raises:
        UserError: no adapter is named, one is missing, is not plain LoRA or is not on `base`, or the method cannot
            combine them.
    """
    if not config.adapters:
        raise UserError("combine.adapters is empty; set the weight of each adapter, such as {legal: 1.0, tax: 0.5}.")
    directories = {name: store.find(name) for name in config.adapters}
    kinds: dict[Quantization, str] = {}
    found: dict[str, Factors] = {}
    for name, directory in directories.items():
        if (below := adapters.parent(directory)) != base:
            raise UserError(f"The adapter in {directory} is on {below} instead of {base}.")
        chain = updates.read_chain([directory]) if adapters.method(directory) == adapters.LORA else None
        if chain is None:
            raise UserError(
                f"The adapter in {directory} is not plain LoRA, so that it has no matrices to combine; average its "
                "merged weights with those of the others instead, or train it with tuning.method lora."
            )
        found[name] = {weight: each for weight, each in chain[0].items() if isinstance(each, Update)}
        kinds.setdefault(adapters.quantization([directory]), name)
    if len(kinds) > 1:
        (one, first), (other, second) = list(kinds.items())[:2]
        raise UserError(
            f"The adapters {first} and {second} were trained on differently quantised weights ({one}, {other}); train "
            "them with the same base.quantization."
        )
    _check_ranks(found, config.method)
    return found, next(iter(kinds))


def _check_ranks(found: Mapping[str, Factors], method: Method) -> None:
    if method == "cat" or method.endswith("svd"):
        return
    first: dict[str, tuple[str, int]] = {}
    for name, factors in found.items():
        for weight, update in factors.items():
            other, rank = first.setdefault(weight, (name, len(update.down)))
            if rank != len(update.down):
                raise UserError(
                    f"combine.method {method} needs equal ranks, and for {weight} {other} has rank {rank} and {name} "
                    f"{len(update.down)}; use cat or svd."
                )


@torch.no_grad()
def combined(found: Mapping[str, Factors], config: CombineConfig, compute: ComputeConfig) -> Factors:
    """Return the combination by weights as updates of scale 1; only DARE draws random numbers."""
    where = device(compute)
    names = sorted({name for factors in found.values() for name in factors})
    method: Method = "linear" if len(found) == 1 else config.method
    largest = max(len(update.down) for factors in found.values() for update in factors.values())
    result = {}
    for name in track(names, "matrices combined", len(names)):
        chosen = [(factors[name], config.adapters[each]) for each, factors in found.items() if name in factors]
        parts = [Update(one.down.float().to(where), one.up.float().to(where), one.scale) for one, _ in chosen]
        weights = [weight for _, weight in chosen]
        if method == "cat":
            result[name] = _concatenated(parts, weights)
        elif method.endswith("svd"):
            result[name] = _truncated(parts, weights, method, config.density, largest)
        else:
            result[name] = _factorwise(parts, weights, method, config.density)
    return result


def _concatenated(parts: Sequence[Update], weights: Sequence[float]) -> Update:
    """Return the exact sum: B1A1 + B2A2 = [B1, B2][A1; A2]."""
    down = [weight * part.scale * part.down for part, weight in zip(parts, weights, strict=True)]
    return Update(torch.cat(down), torch.cat([part.up for part in parts], dim=1), 1.0)


def _factorwise(parts: Sequence[Update], weights: Sequence[float], method: Method, density: float) -> Update:
    """Merge the factors A and B separately, each with the root of weight and scale."""
    scaled = torch.tensor([weight * part.scale for part, weight in zip(parts, weights, strict=True)])
    roots = scaled.abs().sqrt().to(parts[0].down.device)
    merge, signed = _MERGES[method], roots * scaled.sign().to(roots.device)
    down = merge([part.down for part in parts], signed, density)
    return Update(down, merge([part.up for part in parts], roots, density), 1.0)


def _truncated(parts: Sequence[Update], weights: Sequence[float], method: Method, density: float, rank: int) -> Update:
    """Merge whole updates, and return the best approximation of that rank (Eckart-Young).

    `svd` is of a sum, whose factors are known: after QR decompositions of both, the SVD is of a matrix as small as the
    sum of all ranks (1.7 instead of 217 ms at a width of 768).
    """
    if method == "svd":
        exact = _concatenated(parts, weights)
        (left, above), (right, below) = torch.linalg.qr(exact.up), torch.linalg.qr(exact.down.T)
        inner_up, values, inner_down = torch.linalg.svd(above @ below.T, full_matrices=False)
        return Update(inner_down[:rank] @ right.T, left @ (inner_up[:, :rank] * values[:rank]), 1.0)
    merge = _MERGES[method.removesuffix("_svd")]
    whole = merge([matrix(part) for part in parts], torch.tensor(weights, device=parts[0].down.device), density)
    up, values, down = torch.linalg.svd(whole, full_matrices=False)
    return Update(down[:rank], up[:, :rank] * values[:rank], 1.0)


def matrix(update: Update) -> Tensor:
    """Return the update [out, in]."""
    return (update.up @ update.down) * update.scale
