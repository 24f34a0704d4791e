"""The block `combine` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from pipelines.block import Block

Method = Literal[
    "cat",
    "svd",
    "linear",
    "ties",
    "dare_linear",
    "dare_ties",
    "magnitude_prune",
    "ties_svd",
    "dare_linear_svd",
    "dare_ties_svd",
    "magnitude_prune_svd",
]
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
"""The name of a task adapter, which is a folder, a module of PyTorch and a part of metrics."""


class CombineConfig(Block):
    """The combination of task adapters into one LoRA adapter."""

    adapters: dict[Annotated[str, Field(pattern=f"^{NAME}$")], Annotated[float, Field(allow_inf_nan=False)]]
    """Weight of each adapter of data/adapters (`gradus keep`); a negative one subtracts what was learnt (task
    arithmetic, Ilharco et al. 2023, arXiv:2212.04089)."""
    method: Method
    """By the names of PEFT's `add_weighted_adapter`. `cat` is the exact weighted sum, of the sum of all ranks, `svd`
    its best approximation of the largest rank. `linear`, `ties` (Yadav et al. 2023, arXiv:2306.01708), `dare_*` (Yu et
    al. 2024, arXiv:2311.03099) and `magnitude_prune` combine the factors A and B separately, which need equal ranks;
    `*_svd` apply them to whole updates."""
    density: Annotated[float, Field(gt=0, le=1)]
    """Share of the values of an update that `ties`, `dare_*` and `magnitude_prune` keep."""
