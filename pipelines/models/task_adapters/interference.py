"""How much the updates of adapters on one base model interfere: norms, cosine similarities and conflicting signs."""

import math
from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor

from pipelines.models.config import ComputeConfig
from pipelines.models.devices import device
from pipelines.models.task_adapters.combination import Factors, matrix
from pipelines.models.tuning.updates import Update
from pipelines.runtime.progress import track


@torch.no_grad()
def metrics(found: Mapping[str, Factors], combined: Factors, compute: ComputeConfig) -> dict[str, float]:
    """Return the norm of each update, and of each pair the cosine similarity and the share of conflicting signs.

    Adapters are compared without their weights. `norm` is that of the combination, and `cosine.NAME` its similarity to
    an adapter. Updates that do not interfere have a cosine of zero; signs conflict at half of the entries by chance.
    """
    measured = {"rank": float(max(len(update.down) for update in combined.values())), "norm": norm(combined)}
    for name, factors in found.items():
        measured[f"norm.{name}"] = norm(factors)
        measured[f"cosine.{name}"] = cosine(combined, factors)
    pairs = list(combinations(found, 2))
    for one, other in track(pairs, "pairs of adapters compared", len(pairs)):
        measured[f"cosine.{one}.{other}"] = cosine(found[one], found[other])
        measured[f"sign_conflicts.{one}.{other}"] = sign_conflicts(found[one], found[other], compute)
    return measured


def norm(factors: Factors) -> float:
    """Return the Frobenius norm of an update over all weights."""
    return math.sqrt(max(_product(factors, factors), 0.0))


def cosine(one: Factors, other: Factors) -> float:
    """Return the cosine similarity of two updates as vectors; 0 if one of them is zero."""
    norms = norm(one) * norm(other)
    return _product(one, other) / norms if norms else 0.0


def _product(one: Factors, other: Factors) -> float:
    """Return the inner product of two updates, by the trace of products of their small factors: tr(B'B* A*A')."""
    shared = sorted(one.keys() & other.keys())  # the order of a set, and so the sum's rounding, differs between runs
    return float(sum(_trace(one[name], other[name]) for name in shared))


def _trace(one: Update, other: Update) -> Tensor:
    up = one.up.cpu().double().T @ other.up.cpu().double()
    down = one.down.cpu().double() @ other.down.cpu().double().T
    return one.scale * other.scale * (up * down).sum()


def sign_conflicts(one: Factors, other: Factors, compute: ComputeConfig) -> float:
    """Return the share of the entries that both change which they change in opposite directions; 0 if there are none.

    These are the entries among which TIES elects a sign (Yadav et al. 2023, arXiv:2306.01708, section 4).
    """
    conflicts = shared = 0
    for name in sorted(one.keys() & other.keys()):
        first, second = (_on(each[name], device(compute)) for each in (one, other))
        signs = matrix(first).sign() * matrix(second).sign()
        conflicts += int((signs < 0).sum())
        shared += int(signs.count_nonzero())
    return conflicts / shared if shared else 0.0


def _on(update: Update, where: torch.device) -> Update:
    return Update(update.down.float().to(where), update.up.float().to(where), update.scale)
