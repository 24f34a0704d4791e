"""dvc.yaml as a graph: stages in topological order, `foreach` expanded, parents derived from dependencies and outputs.

dvc.yaml is resolved by `dvc.repo.Repo`. DVC does not promise a stable API for that class, so
only modules of flows/dag use it, and constraints.txt pins its version.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from pipelines.runtime.errors import UserError

for _name in ("dvc", "dvc_objects", "dvc_data"):  # errors are raised here, so DVC need not log them too
    logging.getLogger(_name).setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Stage:
    """One node of the graph, with the resource requirements from its `meta:` block."""

    name: str
    parents: tuple[str, ...]
    cores: int
    """CPU cores it keeps busy."""
    gpu: bool
    """Whether it needs the accelerator; such stages run one at a time."""
    retries: int
    """Number of retries when DVC was busy; a stage that failed is never retried."""
    timeout: float
    """Seconds after which it is terminated."""
    priority: int = 0
    """Among stages waiting for cores, the one with the highest priority starts first."""
    optional: bool = False
    """Whether it runs only when requested or needed by another stage."""


@dataclass(frozen=True)
class Graph:
    """Stages in topological order: each follows its parents."""

    stages: tuple[Stage, ...]

    def __iter__(self) -> Iterator[Stage]:
        """Yield the stages in order."""
        return iter(self.stages)

    def towards(self, targets: Sequence[str]) -> "Graph":
        """Return the graph of `targets` and their dependencies; by default of all stages that are not optional.

        The target `align` selects every `align@…`.

        Raises:
            UserError: no stage has that name.
        """
        wanted = {stage.name for target in targets for stage in self._named(target)}
        if not targets:
            wanted = {stage.name for stage in self.stages if not stage.optional}
        for stage in reversed(self.stages):
            if stage.name in wanted:
                wanted.update(stage.parents)
        return Graph(tuple(stage for stage in self.stages if stage.name in wanted))

    def after(self, names: Iterable[str]) -> set[str]:
        """Return `names` and everything that depends on them."""
        reached = set(names)
        for stage in self.stages:
            if reached.intersection(stage.parents):
                reached.add(stage.name)
        return reached

    def _named(self, target: str) -> list[Stage]:
        found = [stage for stage in self.stages if target in (stage.name, stage.name.split("@")[0])]
        if not found:
            known = ", ".join(stage.name for stage in self.stages)
            raise UserError(f"{target!r} is not a stage of dvc.yaml; the stages are {known}.")
        return found


def read(root: Path = Path()) -> Graph:
    """Read `root`/dvc.yaml.

    Raises:
        UserError: it cannot be read, or defines no stage.
    """
    try:
        with Repo(str(root)) as repo:
            stages = _ordered([_stage(node, repo.index.graph) for node in repo.index.stages if node.cmd])
    except DvcException as error:
        raise UserError(f"dvc.yaml cannot be read: {str(error).strip().splitlines()[0]}.") from error
    if not stages:
        raise UserError("dvc.yaml defines no stage.")
    return Graph(tuple(stages))


def _ordered(stages: list[Stage]) -> list[Stage]:
    """Sort parents first, otherwise in the order of dvc.yaml."""
    named = {stage.name: stage for stage in stages}
    order: dict[str, Stage] = {}

    def place(stage: Stage) -> None:
        for parent in stage.parents:
            place(named[parent])
        order.setdefault(stage.name, stage)

    for stage in stages:
        place(stage)
    return list(order.values())


def _stage(node: Any, edges: Any) -> Stage:
    """Convert DVC's stage `node`; `edges` is DVC's graph, with edges from a stage to its parents."""
    meta = {"cores": 1, "gpu": False, "retries": 0, "timeout": 86400, "priority": 0, "optional": False}
    meta |= node.meta or {}
    return Stage(
        name=node.addressing,
        parents=tuple(sorted(parent.addressing for parent in edges.successors(node) if parent.cmd)),
        cores=int(meta["cores"]),
        gpu=bool(meta["gpu"]),
        retries=int(meta["retries"]),
        timeout=float(meta["timeout"]),
        priority=int(meta["priority"]),
        optional=bool(meta["optional"]),
    )
